#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/test_support.h"
#include "kernel/pagemap_scan.h"
#include "memory/huge_pages.h"
#include "memory/page_set.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

class HugePages : public testing::Test {
 protected:
  static constexpr size_t kRegions = 4;

  HugePages() {
    // Small pages; the address is that of the child.
    memory_ = static_cast<char*>(
        ::mmap(nullptr, (kRegions + 1) * kRegionBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    start_ = {(reinterpret_cast<uint64_t>(memory_) + kRegionBytes - 1) / kRegionBytes * kRegionBytes};
    process_ = std::make_unique<TestProcess>([this] {
      auto* at = reinterpret_cast<char*>(start_.value);
      ::madvise(at, kRegions * kRegionBytes, MADV_NOHUGEPAGE);
      for (size_t i = 0; i < kRegions * kRegionPages; ++i) std::memcpy(at + i * kPageBytes, &i, sizeof i);
      ::madvise(at, kRegions * kRegionBytes, MADV_HUGEPAGE);
      board_[0] = 1;
      while (board_[1] == 0) ::usleep(200);
      for (size_t i = 0; i < kRegions * kRegionPages; ++i)
        if (std::memcmp(at + i * kPageBytes, &i, sizeof i) != 0) ::_exit(1);
    });
    if (!await([&] { return board_[0] == 1; })) throw std::runtime_error("the process is not ready");
  }
  ~HugePages() override { ::munmap(memory_, (kRegions + 1) * kRegionBytes); }
  PageRange regions(size_t first, size_t count) const { return {start_ + first * kRegionBytes, count * kRegionPages}; }
  // The kernel may have put others together by itself.
  bool is_huge(const PageRange& range) const {
    PageRanges found;
    must(must(PagemapScan::open(process_->pid())).find({.all_of = kPageHuge}, range.start, range.end(), found));
    return found == PageRanges{range};
  }
  void expect_content_kept() {
    board_[1] = 1;
    EXPECT_EQ(process_->wait(), 0);
  }
  char* memory_;
  RemoteAddr start_;
  Board board_;
  std::unique_ptr<TestProcess> process_;
};

TEST_F(HugePages, ArePutTogetherFromOutside) {
  EXPECT_EQ(collapse_huge_pages(process_->pid(), {regions(0, kRegions)}, [] { return false; }), kRegions);
  EXPECT_TRUE(is_huge(regions(0, kRegions)));
  expect_content_kept();
}

TEST_F(HugePages, OnlyWholeRegionsAre) {
  PageRange range = regions(0, 3);
  range.start = range.start + kPageBytes;
  range.pages -= 2;
  EXPECT_EQ(collapse_huge_pages(process_->pid(), {range}, [] { return false; }), 1u);
  EXPECT_TRUE(is_huge(regions(1, 1)));
  expect_content_kept();
}

TEST_F(HugePages, EndsWhenToldTo) {
  int asked = 0;
  EXPECT_EQ(collapse_huge_pages(process_->pid(), {regions(0, kRegions)}, [&] { return ++asked > 2; }), 2u);
  expect_content_kept();
}

TEST_F(HugePages, WhatIsNotMappedIsLeft) {
  EXPECT_EQ(collapse_huge_pages(process_->pid(), {{{kRegionBytes}, kRegionPages}, regions(2, 1)}, [] { return false; }),
            1u);
  EXPECT_TRUE(is_huge(regions(2, 1)));
  expect_content_kept();
}

TEST_F(HugePages, OfAProcessThatHasEndedThereAreNone) {
  const pid_t pid = process_->pid();
  ::kill(pid, SIGKILL);
  (void)process_->wait();
  EXPECT_EQ(collapse_huge_pages(pid, {regions(0, kRegions)}, [] { return false; }), 0u);
}

}  // namespace
}  // namespace godwit
