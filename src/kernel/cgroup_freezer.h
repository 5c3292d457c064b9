// Stops and continues all tasks of a cgroup, with the v1 freezer controller or v2's cgroup.freeze.
#pragma once

#include <filesystem>

#include "base/clock.h"
#include "base/result.h"

namespace godwit {

class CgroupFreezer {
 public:
  // DIRECTORY: the cgroup, in the freezer hierarchy (v1) or the unified one.
  static Result<CgroupFreezer> open(const std::filesystem::path& directory);

  // Returns once every task has stopped; on failure, and when DEADLINE passes, the tasks run again.
  Result<> freeze(Deadline deadline) const;
  // As freeze(), but waits for nothing.
  Result<> begin_to_freeze() const { return set(true); }
  // Tasks run again. Succeeds when they already do, or when the cgroup is gone.
  Result<> thaw() const;
  Result<bool> is_frozen() const;

  const std::filesystem::path& directory() const { return directory_; }

 private:
  CgroupFreezer(std::filesystem::path directory, bool unified) : directory_(std::move(directory)), unified_(unified) {}
  Result<> set(bool frozen) const;
  Result<> wait_frozen(Deadline deadline) const;
  std::filesystem::path directory_;
  bool unified_;
};

}  // namespace godwit
