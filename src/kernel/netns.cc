#include "kernel/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/file.h"
#include "base/log.h"

namespace godwit {
namespace {

constexpr char kOwnNetns[] = "/proc/thread-self/ns/net";
constexpr char kIpNetnsDirectory[] = "/run/netns";
constexpr char kIpNetnsDirectoryOld[] = "/var/run/netns";

// Runs on a thread that ends afterwards, as it stays in the new namespace.
Result<> unshare_and_mount(const std::filesystem::path& path) {
  if (unshare(CLONE_NEWNET) != 0) return fail_errno("unshare of the network namespace");
  if (mount(kOwnNetns, path.c_str(), nullptr, MS_BIND, nullptr) != 0) return fail_errno("mount at " + path.string());
  return {};
}

// As `ip netns add` does before its first one. If the names were made without it, that would bind the directory onto
// itself with them in it, and a name whose mount is hidden below cannot be removed any more (EBUSY).
Result<> make_mount_of_its_own(const std::filesystem::path& directory) {
  if (mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
  if (errno != EINVAL) return fail_errno("sharing the mounts in " + directory.string());
  if (mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) != 0 ||
      mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) != 0)
    return fail_errno("making a mount point of " + directory.string());
  return {};
}

}  // namespace

Result<ScopedFd> open_netns(const std::filesystem::path& path) {
  // O_NONBLOCK: PATH may be a FIFO for all we know.
  ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno("network namespace " + path.string());
  struct statfs file_system{};
  if (fstatfs(fd.get(), &file_system) != 0 || file_system.f_type != NSFS_MAGIC ||
      ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET)
    return fail(path.string() + " is not a network namespace");
  return fd;
}

Result<ScopedFd> open_current_netns() { return open_netns(kOwnNetns); }

Result<bool> is_own_netns(int netns_fd) {
  const ScopedFd owner(ioctl(netns_fd, NS_GET_USERNS));
  struct stat its{}, ours{};
  if (!owner && errno == EPERM) return false;  // it is above the caller's
  if (!owner || fstat(owner.get(), &its) != 0 || stat("/proc/self/ns/user", &ours) != 0)
    return fail_errno("the owner of a network namespace");
  return its.st_ino == ours.st_ino;
}

Result<bool> same_netns(int a, int b) {
  struct stat first{}, second{};
  if (fstat(a, &first) != 0 || fstat(b, &second) != 0) return fail_errno("fstat of a namespace");
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

Result<ScopedNetns> ScopedNetns::enter(int netns_fd) {
  TRY_ASSIGN(ScopedFd home, open_current_netns());
  if (setns(netns_fd, CLONE_NEWNET) != 0) return fail_errno("entering a network namespace");
  return ScopedNetns(std::move(home));
}

ScopedNetns::~ScopedNetns() {
  if (!home_ || setns(home_.get(), CLONE_NEWNET) == 0) return;
  log::error("cannot return to the agent's own network namespace: {}", std::strerror(errno));
  std::abort();
}

Result<> create_named_netns(const std::filesystem::path& path) {
  TRY(make_directories(path.parent_path(), 0755));
  if (path.parent_path() == kIpNetnsDirectory || path.parent_path() == kIpNetnsDirectoryOld)
    TRY(make_mount_of_its_own(path.parent_path()));
  ScopedFd file(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file) return fail_errno("making " + path.string());
  Result<> made;
  std::thread([&] { made = unshare_and_mount(path); }).join();
  if (!made) unlink(path.c_str());
  return made;
}

Result<> remove_named_netns(const std::filesystem::path& path) {
  if (umount2(path.c_str(), MNT_DETACH) != 0 && errno != ENOENT && errno != EINVAL)
    return fail_errno("unmounting " + path.string());
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("removing " + path.string());
  return {};
}

}  // namespace godwit
