#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test_support.h"
#include "kernel/pagemap_scan.h"

namespace godwit {
namespace {

// Memory of this process, which is what is scanned.
class PagemapScanTest : public testing::Test {
 protected:
  PagemapScanTest() {
    memory_ = static_cast<char*>(::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::madvise(memory_, bytes(), MADV_NOHUGEPAGE);
  }
  ~PagemapScanTest() override { ::munmap(memory_, bytes()); }
  size_t bytes() const { return pages_ * kPageBytes; }
  RemoteAddr page(size_t index) const { return RemoteAddr{reinterpret_cast<uint64_t>(memory_)} + index * kPageBytes; }
  PageRanges find(const PagemapScan::Query& query) const {
    PageRanges found;
    must(must(PagemapScan::open(::getpid())).find(query, page(0), page(pages_), found));
    return found;
  }
  const size_t pages_ = 4096;
  char* memory_;
};

TEST_F(PagemapScanTest, WorksHere) { EXPECT_TRUE(must(PagemapScan::open(::getpid())).works()); }

TEST_F(PagemapScanTest, FindsWhatIsPresent) {
  memory_[3 * kPageBytes] = memory_[4 * kPageBytes] = memory_[9 * kPageBytes] = 1;
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(3), 2}, {page(9), 1}}));
}

TEST_F(PagemapScanTest, TellsPagesOfZerosApart) {
  memory_[kPageBytes] = 1;
  EXPECT_EQ(*const_cast<volatile char*>(memory_ + 2 * kPageBytes), 0);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(1), 2}}));
  EXPECT_EQ(find({.all_of = kPagePresent | kPageZero}), (PageRanges{{page(2), 1}}));
  EXPECT_EQ(find({.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero}), (PageRanges{{page(1), 1}}));
}

TEST_F(PagemapScanTest, FindsMoreRangesThanTheKernelReturnsAtOnce) {
  PageRanges expected;
  for (size_t index = 0; index < pages_; index += 2) {
    memory_[index * kPageBytes] = 1;
    expected.push_back({page(index), 1});
  }
  EXPECT_EQ(find({.all_of = kPagePresent}), expected);
}

TEST_F(PagemapScanTest, OneRangeAcrossMappingsIsOneRange) {
  for (size_t index = 0; index < pages_; ++index) memory_[index * kPageBytes] = 1;
  ::mprotect(memory_ + 10 * kPageBytes, 10 * kPageBytes, PROT_READ);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(0), pages_}}));
}

TEST_F(PagemapScanTest, WhatIsNotMappedIsNotFound) {
  for (size_t index = 0; index < 20; ++index) memory_[index * kPageBytes] = 1;
  ::munmap(memory_ + 5 * kPageBytes, 5 * kPageBytes);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(0), 5}, {page(10), 10}}));
}

TEST_F(PagemapScanTest, ProtectsNothingWithoutAUserfaultfd) {
  memory_[0] = 1;
  PageRanges found;
  auto scanned = must(PagemapScan::open(::getpid()))
                     .find({.all_of = kPageWritten, .any_of = kPagePresent, .protect = true}, page(0), page(1), found);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().code(), EPERM);
}

TEST_F(PagemapScanTest, GuardPagesAreLeftOut) {
  const PagemapScan scan = must(PagemapScan::open(::getpid()));
  for (size_t index = 0; index < 4; ++index) memory_[index * kPageBytes] = 1;
  constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13
  if (::madvise(memory_ + kPageBytes, kPageBytes, kGuardInstall) != 0) GTEST_SKIP() << "no guard pages here";
  if (scan.guard_if_known() == 0) GTEST_SKIP() << "this kernel does not tell them";
  PageRanges found;
  must(scan.find({.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero | scan.guard_if_known()}, page(0),
                 page(4), found));
  EXPECT_EQ(found, (PageRanges{{page(0), 1}, {page(2), 2}}));
}

TEST(PagemapScan, OfAProcessThatHasEndedIsAnError) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  PageRanges found;
  auto zombie = PagemapScan::open(child);
  EXPECT_TRUE(!zombie || !zombie->find({.all_of = kPagePresent}, {0}, {1 << 30}, found) || found.empty());
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(PagemapScan::open(child));
}

}  // namespace
}  // namespace godwit
