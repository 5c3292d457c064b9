// The mounts of a process's mount namespace (/proc/PID/mountinfo), and descriptors of single ones.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// A line of proc(5)'s mountinfo. Texts are as the kernel escapes them (\040 for a space, …).
struct MountEntry {
  int id = 0;
  int parent = 0;
  dev_t device = 0;           // of the superblock, as st_dev of its files
  std::string root;           // which part of the file system is mounted
  std::string mountpoint;     // below the process's root directory
  bool propagates = false;    // is in a peer group, or receives from one
  std::string type;           // tmpfs, proc, …
  std::string source;         // what is said to be mounted: "tmpfs", "shm"; may be empty
  std::string super_options;  // "rw,size=65536k,mode=755"

  friend bool operator==(const MountEntry&, const MountEntry&) = default;
};

// In the order of the kernel's list. More than 100,000 lines are an error (the kernel's limit, fs.mount-max, is that).
Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text);
Result<std::vector<MountEntry>> read_mounts(pid_t pid);

// What the mount points of cgroup hierarchies of version 1 are called ("memory", "cpu,cpuacct", "systemd"), sorted,
// each once.
std::vector<std::string> cgroup_v1_mounts(const std::vector<MountEntry>& mounts);

// For each of MOUNTS, all tmpfs and as read from process PID, a directory descriptor of a detached clone of just that
// mount: directories that other mounts cover are seen through it, and what the process does with its paths and mounts
// later does not change what it leads to. It keeps the file system alive. An error if the path does not lead to the
// mount any more.
Result<std::vector<ScopedFd>> clone_tmpfs_mounts(pid_t pid, const std::vector<MountEntry>& mounts);

}  // namespace godwit
