#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/mounts.h"
#include "kernel/tmpfs.h"

namespace godwit {
namespace {

MountEntry mount_at(const std::string& path) {
  const auto mounts = must(read_mounts(::getpid()));
  const auto found = std::ranges::find(mounts, path, &MountEntry::mountpoint);
  if (found == mounts.end()) throw std::runtime_error("no mount at " + path);
  return *found;
}

TEST(CloneTmpfsMounts, SeesWhatAnotherMountCovers) {
  const ScopedDirectory directory;
  const ScopedTmpfs outer = must(ScopedTmpfs::mount(directory / "outer", 1 << 20));
  must(make_directories(outer.path() / "covered"));
  must(write_file(outer.path() / "covered" / "file", "below"));
  const ScopedFd held = must(open_file(outer.path() / "covered", O_PATH));
  const ScopedTmpfs inner = must(ScopedTmpfs::mount(outer.path() / "covered", 1 << 20));
  ASSERT_FALSE(std::filesystem::exists(outer.path() / "covered" / "file"));

  const auto clones = must(clone_tmpfs_mounts(::getpid(), {mount_at(outer.path())}));
  ASSERT_EQ(clones.size(), 1u);
  const ScopedFd file(::openat(clones[0].get(), "covered/file", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  EXPECT_EQ(must(read_fd(file.get())), "below");
}

TEST(CloneTmpfsMounts, AnotherMountAtThePathIsRefused) {
  const ScopedDirectory directory;
  const ScopedTmpfs tmpfs = must(ScopedTmpfs::mount(directory / "tmpfs", 1 << 20));
  MountEntry mount = mount_at(tmpfs.path());
  mount.device += 1;
  EXPECT_FALSE(clone_tmpfs_mounts(::getpid(), {mount}));
  mount.mountpoint = "/proc";
  EXPECT_FALSE(clone_tmpfs_mounts(::getpid(), {mount}));
}

}  // namespace
}  // namespace godwit
