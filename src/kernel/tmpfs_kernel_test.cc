#include <gtest/gtest.h>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/tmpfs.h"

namespace godwit {
namespace {

TEST(Tmpfs, IsThereForItsScopeAndBounded) {
  const ScopedDirectory directory;
  const auto path = directory / "images";
  {
    const ScopedTmpfs tmpfs = must(ScopedTmpfs::mount(path, 1 << 20));
    EXPECT_TRUE(must(is_on_tmpfs(path)));
    must(write_file(path / "half", std::string(512 << 10, 'x')));
    EXPECT_GE(tmpfs.used_bytes(), 512u << 10);
    EXPECT_FALSE(write_file(path / "too-much", std::string(600 << 10, 'x')));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Tmpfs, GoesThoughAFileInItIsOpen) {
  const ScopedDirectory directory;
  ScopedFd late;
  {
    const ScopedTmpfs tmpfs = must(ScopedTmpfs::mount(directory / "images", 1 << 20));
    must(write_file(tmpfs.path() / "file", "content"));
    late = must(open_file(tmpfs.path() / "file", 0));
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "images"));
  EXPECT_EQ(must(read_fd(late.get())), "content");
}

TEST(Tmpfs, AMovedOneIsUnmountedOnce) {
  const ScopedDirectory directory;
  ScopedTmpfs first = must(ScopedTmpfs::mount(directory / "images", 1 << 20));
  {
    const ScopedTmpfs second = std::move(first);
    EXPECT_TRUE(std::filesystem::exists(directory / "images"));
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "images"));
}

TEST(Tmpfs, OtherFileSystemsAreToldApart) {
  EXPECT_FALSE(must(is_on_tmpfs("/proc")));
  EXPECT_FALSE(is_on_tmpfs("/no/such/path"));
}

}  // namespace
}  // namespace godwit
