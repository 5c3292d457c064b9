// The criu, runc and attacher that an agent, killed since, had started for a migration: they end by themselves
// (runtime/criu_bridge.h, tracee/attacher.h), and until then nobody else may touch the container.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>

#include "base/clock.h"
#include "base/scoped_fd.h"

namespace godwit {

class HelperProcesses {
 public:
  // Those that use DIRECTORY, the migration's below the run directory, which must still be mounted.
  static HelperProcesses find(const std::filesystem::path& directory);
  // Returns when they have ended, or have become the container's own; at DEADLINE they are killed.
  void await_end(Deadline deadline);

 private:
  bool any_left() const;
  std::map<pid_t, ScopedFd> pidfds_;
};

}  // namespace godwit
