#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "base/test_support.h"
#include "memory/page_set.h"
#include "memory/still_memory.h"
#include "memory/write_tracker.h"

namespace godwit {
namespace {

// Two mappings, one of several pieces, with pages here and there, at the ends of pieces too.
TEST(StillMemory, SeveralThreadsFindWhatOneFinds) {
  constexpr size_t kBytes = size_t{1} << 30, kPiece = size_t{128} << 20;
  auto* area = static_cast<char*>(
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  ::madvise(area, kBytes, MADV_NOHUGEPAGE);
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) area[random() % kBytes] = 1;
  for (size_t at = kPiece; at < kBytes; at += kPiece) area[at - 1] = area[at] = 1;
  const RemoteAddr start{reinterpret_cast<uint64_t>(area)};
  Mapping large, small;
  large.start = start;
  large.end = small.start = start + (kBytes - kPageBytes);
  small.end = start + kBytes;

  const PagemapScan scan = must(PagemapScan::open(::getpid()));
  if (!scan.works()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  const StillMemory found = must(look_at_still_memory(scan, {large, small}));
  const PageRanges populated = must(find_populated(scan, {large, small}));
  EXPECT_GT(count_pages(populated), 1900u);
  EXPECT_EQ(normalise(found.populated), normalise(populated));
  EXPECT_EQ(normalise(found.written), normalise(populated)) << "nothing is protected";
  EXPECT_FALSE(found.guarded);

  constexpr int kGuardInstall = 102;
  if (scan.guard_if_known() != 0 && ::madvise(area + kPiece, kPageBytes, kGuardInstall) == 0) {
    const StillMemory guarded = must(look_at_still_memory(scan, {large, small}));
    EXPECT_TRUE(guarded.guarded);
    EXPECT_FALSE(contains(guarded.populated, start + kPiece));
  }
  ::munmap(area, kBytes);
}

}  // namespace
}  // namespace godwit
