// Cgroups as directories, of version 1 and 2.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kernel/mounts.h"

namespace godwit {

// The directories of the cgroups that PID is in, one for each mounted hierarchy. Error code ESRCH or ENOENT: it has
// ended.
Result<std::vector<std::filesystem::path>> cgroup_directories(pid_t pid);

// The same from the text of /proc/PID/cgroup and the mounts of this process.
std::vector<std::filesystem::path> parse_cgroup_directories(std::string_view cgroup,
                                                            const std::vector<MountEntry>& mounts);

// Kills every process in DIRECTORY and below it and removes the cgroups. Fine if it is gone.
Result<> remove_cgroup(const std::filesystem::path& directory, Deadline deadline);

}  // namespace godwit
