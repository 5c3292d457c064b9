#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/test_support.h"
#include "kernel/mapping_watch.h"

namespace godwit {
namespace {

constexpr size_t kBytes = 65536;

class MappingWatchTest : public testing::Test {
 protected:
  MappingWatchTest() {
    struct stat facts{};
    if (::ftruncate(file_.get(), kBytes) != 0 || ::fstat(file_.get(), &facts) != 0) throw std::runtime_error("memfd");
    id_ = {facts.st_dev, facts.st_ino};
  }
  void* map(int protection = PROT_READ | PROT_WRITE, int kind = MAP_SHARED) const {
    return ::mmap(nullptr, kBytes, protection, kind, file_.get(), 0);
  }
  // Those of this test's process and file.
  bool told_of_mapping() { return must(watch_.take()).mapped.contains(id_); }
  bool told_of_process() { return must(watch_.take()).odd.contains(::getpid()); }

  ScopedFd file_{::memfd_create("watched", MFD_CLOEXEC)};
  FileId id_;
  MappingWatch watch_ = must(MappingWatch::start());
};

TEST_F(MappingWatchTest, TellsOfMappingsThatMayWrite) {
  void* at = map();
  ::munmap(at, kBytes);
  EXPECT_TRUE(told_of_mapping());
  EXPECT_FALSE(told_of_mapping());
  ::munmap(map(PROT_READ | PROT_WRITE, MAP_PRIVATE), kBytes);
  at = map(PROT_READ);
  EXPECT_FALSE(told_of_mapping());
  ::mprotect(at, kBytes, PROT_READ | PROT_WRITE);
  EXPECT_TRUE(told_of_mapping());
  ::munmap(at, kBytes);
}

TEST_F(MappingWatchTest, TellsOfForksAndNotOfThreads) {
  std::thread([] {}).join();
  EXPECT_FALSE(told_of_process());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(told_of_process());
}

TEST_F(MappingWatchTest, TellsOfSecondMappingsAndOfRemovedContent) {
  void* const at = map();
  told_of_process();
  void* const moved = ::mremap(at, kBytes, 2 * kBytes, MREMAP_MAYMOVE);
  EXPECT_FALSE(told_of_process());
  void* const second = ::mremap(moved, 0, kBytes, MREMAP_MAYMOVE);
  ASSERT_NE(second, MAP_FAILED);
  EXPECT_TRUE(told_of_process());
  ::madvise(second, kBytes, MADV_DONTNEED);
  EXPECT_FALSE(told_of_process());
  ASSERT_EQ(::madvise(second, kBytes, MADV_REMOVE), 0);
  EXPECT_TRUE(told_of_process());
  ::munmap(second, kBytes);
  ::munmap(moved, 2 * kBytes);
}

TEST_F(MappingWatchTest, SaysWhenItHasMissedSome) {
  for (int i = 0; i < 20'000; ++i) ::munmap(map(), kBytes);
  EXPECT_TRUE(must(watch_.take()).lost);
  told_of_mapping();  // what the kernel says of it later
  EXPECT_FALSE(must(watch_.take()).lost);
}

}  // namespace
}  // namespace godwit
