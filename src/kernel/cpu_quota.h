// The CPU time that a cgroup may use: cpu.max (v2), cpu.cfs_quota_us (v1).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace godwit {

class CpuQuota {
 public:
  // Of the cgroup that PID is in. An error if no hierarchy limits CPU time there.
  static Result<CpuQuota> open(pid_t pid);

  // Used since the cgroup was made, by all CPUs, in microseconds.
  Result<uint64_t> used_us() const;
  // From now on at most CPUS CPUs' time (may be a fraction), and no more than was allowed at open(). Short periods, so
  // that no single stall is longer than kPeriod.
  Result<> limit(double cpus) const;
  // As it was at open(). Fine if the cgroup is gone.
  Result<> restore() const;
  // The same for another process, later: files, and what to write into them, in this order.
  std::vector<std::pair<std::filesystem::path, std::string>> to_restore() const;

 private:
  CpuQuota(std::filesystem::path directory, std::filesystem::path usage, bool unified)
      : directory_(std::move(directory)), usage_(std::move(usage)), unified_(unified) {}
  Result<> remember();
  Result<> set(const std::string& quota_us, const std::string& period_us) const;

  std::filesystem::path directory_;
  std::filesystem::path usage_;  // the file that counts; in v1 often of another hierarchy
  bool unified_;
  std::string quota_before_;  // "max" or microseconds; "-1" in v1
  std::string period_before_;
};

}  // namespace godwit
