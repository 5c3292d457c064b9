#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/file_watch.h"
#include "kernel/tmpfs.h"

namespace godwit {
namespace {

class FileWatchTest : public ::testing::Test {
 protected:
  FileWatchTest()
      : tmpfs_(must(ScopedTmpfs::mount(directory_ / "tmpfs", 1 << 20))),
        root_(must(open_file(tmpfs_.path(), O_RDONLY | O_DIRECTORY))) {
    must(write_file(tmpfs_.path() / "file", std::string(4096, 'x')));
    struct stat facts{};
    ::stat((tmpfs_.path() / "file").c_str(), &facts);
    inode_ = facts.st_ino;
    reader_ = must(open_file(tmpfs_.path() / "file", O_RDONLY));
  }
  ScopedFd open(int flags) { return must(open_file(tmpfs_.path() / "file", flags)); }

  ScopedDirectory directory_;
  ScopedTmpfs tmpfs_;
  ScopedFd root_;
  ScopedFd reader_;
  uint64_t inode_ = 0;
};

TEST_F(FileWatchTest, TellsTheEndOfAnOpenFileThatMightWrite) {
  FileWatch watch = must(FileWatch::start(root_.get()));
  open(O_RDONLY).reset();
  EXPECT_TRUE(must(watch.take()).inodes.empty());
  open(O_RDWR).reset();
  EXPECT_EQ(must(watch.take()).inodes, std::set<uint64_t>{inode_});
  EXPECT_TRUE(must(watch.take()).inodes.empty());
}

// The hole that times leave: nothing tells of what is written through a mapping that was read first.
TEST_F(FileWatchTest, AMappingCountsAsOpenAndItsEndIsTold) {
  FileWatch watch = must(FileWatch::start(root_.get()));
  EXPECT_FALSE(is_open_for_writing(reader_.get()));
  ScopedFd writer = open(O_RDWR);
  EXPECT_TRUE(is_open_for_writing(reader_.get()));
  auto* memory =
      static_cast<volatile char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0));
  ASSERT_NE(memory, MAP_FAILED);
  writer.reset();
  EXPECT_EQ(memory[0], 'x');
  memory[0] = 'y';
  EXPECT_TRUE(is_open_for_writing(reader_.get()));
  EXPECT_TRUE(must(watch.take()).inodes.empty());
  ::munmap(const_cast<char*>(memory), 4096);
  EXPECT_FALSE(is_open_for_writing(reader_.get()));
  EXPECT_EQ(must(watch.take()).inodes, std::set<uint64_t>{inode_});
}

TEST_F(FileWatchTest, MoreEndsThanTheKernelKeepsAreToldAsAll) {
  FileWatch watch = must(FileWatch::start(root_.get()));
  constexpr int kMoreThanQueued = 16384 + 10;  // /proc/sys/fs/fanotify/max_queued_events
  for (int i = 0; i < kMoreThanQueued; ++i) {
    const auto path = tmpfs_.path() / "other";
    must(write_file(path, ""));
    std::filesystem::remove(path);  // else the next would be the same event
  }
  EXPECT_TRUE(must(watch.take()).all);
}

}  // namespace
}  // namespace godwit
