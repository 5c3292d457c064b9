#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <random>

#include "base/scoped_fd.h"
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

// Protected pages are those that the kernel does not tell: pages that are not there must not be taken for them.
TEST(StillMemory, WhatIsProtectedIsToldFromWhatIsNotThere) {
  constexpr size_t kBytes = size_t{300} << 20, kRegion = kRegionPages * kPageBytes;
  auto* area = static_cast<char*>(
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  ::madvise(area, kBytes, MADV_NOHUGEPAGE);
  const PagemapScan scan = must(PagemapScan::open(::getpid()));
  const ScopedFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = 1 << 15;  // UFFD_FEATURE_WP_ASYNC, linux/userfaultfd.h of 6.7
  if (!scan.works() || ::ioctl(uffd.get(), UFFDIO_API, &api) != 0) GTEST_SKIP() << "this kernel cannot track writes so";
  const RemoteAddr start{reinterpret_cast<uint64_t>(area)};
  Mapping mapping;
  mapping.start = start;
  mapping.end = start + kBytes;
  uffdio_register request{};
  request.range = {start.value, kBytes};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  ASSERT_EQ(::ioctl(uffd.get(), UFFDIO_REGISTER, &request), 0);

  std::mt19937 random(11);
  for (size_t at = 0; at < kBytes; at += kPageBytes)
    if (random() % 8 != 0) area[at] = 1;
  const PagemapScan::Query protecting{.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero, .protect = true};
  PageRanges all;
  must(scan.find(protecting, mapping.start, mapping.end, all));
  auto a_page = [&] { return area + random() % (kBytes / kPageBytes) * kPageBytes; };
  for (int i = 0; i < 2000; ++i) *a_page() = 2;
  for (int i = 0; i < 2000; ++i) ::madvise(a_page(), kPageBytes, MADV_DONTNEED);
  for (int i = 0; i < 2000; ++i) static_cast<void>(*static_cast<volatile char*>(a_page()));  // zero pages, some of them
  ::madvise(area + 2 * kRegion, 8 * kRegion, MADV_DONTNEED);                                 // page tables go with it
  ::madvise(area, kRegion, MADV_DONTNEED);

  const StillMemory found = must(look_at_still_memory(scan, {mapping}));
  PageRanges written;
  must(scan.find({.all_of = kPageWritten, .any_of = kPagePresent | kPageSwapped, .none_of = kPageZero}, mapping.start,
                 mapping.end, written));
  EXPECT_EQ(normalise(found.populated), normalise(must(find_populated(scan, {mapping}))));
  EXPECT_EQ(normalise(found.written), normalise(written));
  EXPECT_GT(count_pages(found.populated), 50'000u);
  EXPECT_GT(count_pages(found.written), 1'000u);
  ::munmap(area, kBytes);
}

}  // namespace
}  // namespace godwit
