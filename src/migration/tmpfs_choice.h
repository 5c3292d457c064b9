// Which tmpfs mounts of a container godwit carries itself, and by which names CRIU knows them.
//
// A container of runC's has some seven: /dev, /dev/shm, perhaps /tmp, and those that mask directories of /proc and
// /sys. For CRIU the ones that are chosen are external: it dumps nothing of their files, and on the target binds what
// it is given.
#pragma once

#include <string>
#include <vector>

#include "criu_rpc.pb.h"
#include "kernel/mounts.h"

namespace godwit {

struct TmpfsChoice {
  std::vector<MountEntry> taken;
  std::vector<std::string> left;  // mount points of those that go in CRIU's images
};

// Only a mount whose files are the container's alone, and all to be reached through it: a whole file system that is
// mounted once in CONTAINER (MOUNTS of the first process's namespace), not on the HOST, shares no mount events, is
// covered by no other mount, and is none of BINDS, the destinations of bind mounts in config.json. CRIU knows mounts
// by their path: only those with an ordinary one.
TmpfsChoice choose_tmpfs(const std::vector<MountEntry>& container, const std::vector<MountEntry>& host,
                         const std::vector<std::string>& binds);

// Whether all processes are in the mount namespace of FIRST. Elsewhere CRIU does not look for external mounts.
bool share_mount_namespace(pid_t first, const std::vector<pid_t>& processes);

// For CRIU's dump and restore: mount NUMBER at MOUNTPOINT in the container, found at PATH on the target.
void declare_dumped_tmpfs(size_t number, const std::string& mountpoint, criu::Options& options);
void declare_restored_tmpfs(size_t number, const std::string& path, criu::Options& options);

// Options of a mount, from a peer's text of a superblock's. Only what is known is taken over.
struct TmpfsOptions {
  std::string at_first;  // its size is not bounded by it yet
  std::string at_last;   // once the files are there
  bool read_only = false;
};
std::string kernels_default_size();  // as an option of a mount
TmpfsOptions tmpfs_options(const std::string& text);

}  // namespace godwit
