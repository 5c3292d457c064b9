#include "kernel/mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <charconv>
#include <optional>
#include <set>
#include <thread>

#include "base/file.h"

namespace godwit {

namespace {

constexpr size_t kMountsMax = 100'000;
constexpr size_t kMountinfoBytesMax = size_t{64} << 20;

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t at = 0; at < line.size();) {
    const size_t end = std::min(line.find(' ', at), line.size());
    fields.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

template <typename T>
bool parse(std::string_view text, T& value) {
  return std::from_chars(text.data(), text.data() + text.size(), value).ptr == text.data() + text.size() &&
         !text.empty();
}

// ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS. SOURCE may be empty.
std::optional<MountEntry> parse_line(std::string_view line) {
  const auto fields = fields_of(line);
  constexpr size_t kTagsAt = 6;
  size_t dash = kTagsAt;
  while (dash < fields.size() && fields[dash] != "-") ++dash;
  if (dash + 3 >= fields.size()) return std::nullopt;
  MountEntry mount;
  const size_t colon = fields[2].find(':');
  unsigned major = 0, minor = 0;
  if (!parse(fields[0], mount.id) || !parse(fields[1], mount.parent) || colon == std::string_view::npos ||
      !parse(fields[2].substr(0, colon), major) || !parse(fields[2].substr(colon + 1), minor))
    return std::nullopt;
  mount.device = makedev(major, minor);
  mount.root = fields[3];
  mount.mountpoint = fields[4];
  for (size_t i = kTagsAt; i < dash; ++i) mount.propagates |= fields[i] != "unbindable";
  mount.type = fields[dash + 1];
  mount.source = fields[dash + 2];
  mount.super_options = fields.back();
  return mount;
}

Result<ScopedFd> clone_one(const MountEntry& mount) {
  ScopedFd clone(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, mount.mountpoint.c_str(),
                                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW)));
  if (!clone) return fail_errno("clone of the mount " + mount.mountpoint);
  // open_tree gives a descriptor that can only be a starting point; this one can also be listed.
  ScopedFd directory(::openat(clone.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!directory) return fail_errno("opening the mount " + mount.mountpoint);
  struct stat facts{};
  struct statfs system{};
  if (::fstat(directory.get(), &facts) != 0 || ::fstatfs(directory.get(), &system) != 0)
    return fail_errno("looking at the mount " + mount.mountpoint);
  if (facts.st_dev != mount.device || system.f_type != TMPFS_MAGIC)
    return fail("there is another mount at " + mount.mountpoint + " now");
  return directory;
}

// Runs on a thread that ends afterwards, as it stays in that namespace.
Result<std::vector<ScopedFd>> clone_in(int mount_namespace, const std::vector<MountEntry>& mounts) {
  if (::unshare(CLONE_FS) != 0) return fail_errno("unshare of the working directory");
  if (::setns(mount_namespace, CLONE_NEWNS) != 0) return fail_errno("entering the container's mount namespace");
  std::vector<ScopedFd> clones;
  for (const MountEntry& mount : mounts) {
    TRY_ASSIGN(ScopedFd clone, clone_one(mount));
    clones.push_back(std::move(clone));
  }
  return clones;
}

}  // namespace

Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    auto mount = parse_line(text.substr(at, end - at));
    if (!mount) return fail("mountinfo has a line of another form");
    if (mounts.size() == kMountsMax) return fail("too many mounts");
    mounts.push_back(std::move(*mount));
    at = end + 1;
  }
  return mounts;
}

Result<std::vector<MountEntry>> read_mounts(pid_t pid) {
  TRY_ASSIGN(const std::string text, read_file("/proc/" + std::to_string(pid) + "/mountinfo", kMountinfoBytesMax));
  return parse_mountinfo(text);
}

std::vector<std::string> cgroup_v1_mounts(const std::vector<MountEntry>& mounts) {
  std::set<std::string> names;
  for (const MountEntry& mount : mounts)
    if (mount.type == "cgroup") names.insert(mount.mountpoint.substr(mount.mountpoint.rfind('/') + 1));
  return {names.begin(), names.end()};
}

Result<std::vector<ScopedFd>> clone_tmpfs_mounts(pid_t pid, const std::vector<MountEntry>& mounts) {
  if (mounts.empty()) return std::vector<ScopedFd>();
  TRY_ASSIGN(const ScopedFd inside, open_file("/proc/" + std::to_string(pid) + "/ns/mnt", O_RDONLY));
  Result<std::vector<ScopedFd>> clones;
  std::thread([&] { clones = clone_in(inside.get(), mounts); }).join();
  return clones;
}

}  // namespace godwit
