// Slows a container down in steps, so that it writes less memory than can be sent. It runs at full speed again when
// this is gone, or the process that has it is.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "kernel/cpu_quota.h"
#include "tracee/attacher.h"

namespace godwit {

class CpuThrottle {
 public:
  CpuThrottle() = default;
  ~CpuThrottle() { end(); }
  CpuThrottle(const CpuThrottle&) = delete;
  CpuThrottle& operator=(const CpuThrottle&) = delete;

  // Begins to watch what the cgroup of PID uses. Without a cpu cgroup there is no throttling: step() then says no.
  // BACKSTOP, which ends the throttling if this process is killed, outlives it.
  void watch(pid_t pid, Attacher& backstop);
  // Takes more away than before. False: that was all.
  bool step();
  void end();

  // Of the CPU time it used before; the most so far.
  uint32_t percent_max() const { return percent_; }

 private:
  bool limit();

  std::optional<CpuQuota> quota_;
  pid_t pid_ = 0;
  Attacher* backstop_ = nullptr;
  Clock::time_point watched_from_{};
  uint64_t used_before_us_ = 0;
  double cpus_ = 0;  // that it used, on average
  uint32_t percent_ = 0;
  bool limited_ = false;
};

}  // namespace godwit
