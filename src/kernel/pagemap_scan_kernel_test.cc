#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test_support.h"
#include "kernel/memory_maps.h"
#include "kernel/pagemap_scan.h"

namespace godwit {
namespace {

enum class Way { kScanning, kReading };

bool kernel_scans() { return must(PagemapScan::open(::getpid())).works(); }

// Memory of this process, which is what is scanned; in both ways.
class PagemapScanTest : public testing::TestWithParam<Way> {
 protected:
  PagemapScanTest() {
    memory_ = static_cast<char*>(::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::madvise(memory_, bytes(), MADV_NOHUGEPAGE);
  }
  ~PagemapScanTest() override { ::munmap(memory_, bytes()); }
  void SetUp() override {
    if (GetParam() == Way::kScanning && !kernel_scans()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  }
  static PagemapScan scan() {
    return must(GetParam() == Way::kScanning ? PagemapScan::open(::getpid()) : PagemapScan::open_to_read(::getpid()));
  }
  size_t bytes() const { return pages_ * kPageBytes; }
  RemoteAddr page(size_t index) const { return RemoteAddr{reinterpret_cast<uint64_t>(memory_)} + index * kPageBytes; }
  PageRanges find(const PagemapScan::Query& query) const {
    PageRanges found;
    must(scan().find(query, page(0), page(pages_), found));
    return found;
  }
  const size_t pages_ = 4096;
  char* memory_;
};

INSTANTIATE_TEST_SUITE_P(BothWays, PagemapScanTest, testing::Values(Way::kScanning, Way::kReading),
                         [](const auto& info) { return info.param == Way::kScanning ? "Scanning" : "Reading"; });

TEST_P(PagemapScanTest, FindsWhatIsPresent) {
  memory_[3 * kPageBytes] = memory_[4 * kPageBytes] = memory_[9 * kPageBytes] = 1;
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(3), 2}, {page(9), 1}}));
}

TEST_P(PagemapScanTest, TellsPagesOfZerosApart) {
  memory_[kPageBytes] = 1;
  EXPECT_EQ(*const_cast<volatile char*>(memory_ + 2 * kPageBytes), 0);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(1), 2}}));
  EXPECT_EQ(find({.all_of = kPagePresent | kPageZero}), (PageRanges{{page(2), 1}}));
  EXPECT_EQ(find({.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero}), (PageRanges{{page(1), 1}}));
}

TEST_P(PagemapScanTest, FindsMoreRangesThanTheKernelReturnsAtOnce) {
  PageRanges expected;
  for (size_t index = 0; index < pages_; index += 2) {
    memory_[index * kPageBytes] = 1;
    expected.push_back({page(index), 1});
  }
  EXPECT_EQ(find({.all_of = kPagePresent}), expected);
}

TEST_P(PagemapScanTest, OneRangeAcrossMappingsIsOneRange) {
  for (size_t index = 0; index < pages_; ++index) memory_[index * kPageBytes] = 1;
  ::mprotect(memory_ + 10 * kPageBytes, 10 * kPageBytes, PROT_READ);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(0), pages_}}));
}

TEST_P(PagemapScanTest, WhatIsNotMappedIsNotFound) {
  for (size_t index = 0; index < 20; ++index) memory_[index * kPageBytes] = 1;
  ::munmap(memory_ + 5 * kPageBytes, 5 * kPageBytes);
  EXPECT_EQ(find({.all_of = kPagePresent}), (PageRanges{{page(0), 5}, {page(10), 10}}));
}

TEST_P(PagemapScanTest, ProtectsNothingWithoutAUserfaultfd) {
  memory_[0] = 1;
  PageRanges found;
  auto scanned =
      scan().find({.all_of = kPageWritten, .any_of = kPagePresent, .protect = true}, page(0), page(1), found);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().code(), GetParam() == Way::kScanning ? EPERM : EOPNOTSUPP);
}

TEST_P(PagemapScanTest, GuardPagesAreLeftOut) {
  if (scan().guard_if_known() == 0) GTEST_SKIP() << "this kernel does not tell them";
  for (size_t index = 0; index < 4; ++index) memory_[index * kPageBytes] = 1;
  constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13
  if (::madvise(memory_ + kPageBytes, kPageBytes, kGuardInstall) != 0) GTEST_SKIP() << "this kernel has no guard pages";
  EXPECT_EQ(find({.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero | kPageGuard}),
            (PageRanges{{page(0), 1}, {page(2), 2}}));
}

constexpr size_t kChildBytes = size_t{16} << 20;

// All that there is in an ordinary process: files, shared memory, page tables without pages, huge pages.
void fill_memory() {
  for (int kind = 0; kind < 3; ++kind) {
    const int flags = MAP_ANONYMOUS | (kind == 2 ? MAP_SHARED : MAP_PRIVATE);
    auto* memory = static_cast<char*>(::mmap(nullptr, kChildBytes, PROT_READ | PROT_WRITE, flags, -1, 0));
    ::madvise(memory, kChildBytes, MADV_NOHUGEPAGE);
    if (kind == 0) ::madvise(memory, kChildBytes / 2, MADV_HUGEPAGE);
    for (size_t at = 0; at < kChildBytes / 2; at += 3 * kPageBytes) memory[at] = 1;
    for (size_t at = kChildBytes / 2; at < kChildBytes; at += 5 * kPageBytes)
      (void)*const_cast<volatile char*>(memory + at);
  }
}

TEST(PagemapScan, ReadingFindsWhatScanningFinds) {
  if (!kernel_scans()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  int filled[2];
  ASSERT_EQ(::pipe(filled), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    fill_memory();
    ::close(filled[1]);
    for (;;) ::pause();
  }
  ::close(filled[1]);
  char none;
  EXPECT_EQ(::read(filled[0], &none, 1), 0);
  const PagemapScan scanning = must(PagemapScan::open(child));
  const PagemapScan reading = must(PagemapScan::open_to_read(child));
  uint64_t pages = 0;
  for (const PagemapScan::Query& query :
       {PagemapScan::Query{.all_of = kPagePresent}, PagemapScan::Query{.all_of = kPagePresent | kPageFile},
        PagemapScan::Query{.all_of = kPagePresent | kPageZero},
        PagemapScan::Query{.all_of = kPagePresent | kPageHuge, .none_of = kPageFile},
        PagemapScan::Query{.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero}})
    for (const Mapping& mapping : must(read_maps(child))) {
      if (mapping.name == "[vsyscall]") continue;  // not below the end of user addresses
      PageRanges scanned, read;
      must(scanning.find(query, mapping.start, mapping.end, scanned));
      must(reading.find(query, mapping.start, mapping.end, read));
      EXPECT_EQ(scanned, read) << mapping.line << ", categories " << query.all_of;
      for (const PageRange& range : scanned) pages += range.pages;
    }
  EXPECT_GT(pages, kChildBytes / kPageBytes);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(filled[0]);
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
