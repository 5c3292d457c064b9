// What each of the ways of tracking promises, on the real kernel. Processes here stand still while they are looked at.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/test_support.h"
#include "kernel/pagemap_scan.h"
#include "memory/page_set.h"
#include "memory/write_tracker.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

constexpr size_t kPages = 2048;  // two huge pages twice over
constexpr size_t kBytes = kPages * kPageBytes;
char* const kHere = reinterpret_cast<char*>(0x200000000000);  // aligned to huge pages, and free, also of sanitizers
char* const kThere = kHere + (uint64_t{1} << 40);

char* map_at(char* where, size_t bytes = kBytes) {
  return static_cast<char*>(
      ::mmap(where, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}
void move(char* from, char* to) { ::mremap(from, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, to); }
RemoteAddr remote(const char* address) { return {reinterpret_cast<uint64_t>(address)}; }
PageRange pages(const char* from, size_t first, size_t count) { return {remote(from) + first * kPageBytes, count}; }
PageRange all(const char* from) { return pages(from, 0, kPages); }

// A child with small pages of ones at kHere, which then goes through STEPS, each when it is told to.
class WriteTracking : public testing::TestWithParam<Tracking> {
 protected:
  using Steps = std::vector<std::function<void()>>;
  void start(Steps steps, const std::function<void()>& prepare = [] {}) {
    process_ = std::make_unique<TestProcess>([&] {
      ::madvise(map_at(kHere), kBytes, MADV_NOHUGEPAGE);
      std::memset(kHere, 1, kBytes);
      prepare();
      for (uint64_t done = 0;;) {
        board_[0] = done + 1;
        while (board_[1] == done) ::usleep(200);
        steps[done++]();
      }
    });
    ASSERT_TRUE(await([&] { return board_[0] == 1; }));
    tracker_ = must(attach_tracker(GetParam(), process_->pid()));
  }
  void next_step() {
    const uint64_t now = ++board_[1];
    ASSERT_TRUE(await([&] { return board_[0] == now + 1; }));
  }
  void SetUp() override {
    if (!can_track(GetParam())) GTEST_SKIP() << "this kernel does not track by " << tracking_name(GetParam());
  }
  std::vector<Mapping> mappings() const {
    std::vector<Mapping> found;
    for (const Mapping& mapping : must(read_maps(process_->pid())))
      if (mapping.start >= remote(kHere) && mapping.end <= remote(kThere) + kBytes && mapping.inode == 0)
        found.push_back(mapping);
    return found;
  }
  PageRanges take() const { return normalise(must(tracker_->take_written(mappings()))); }
  PageRanges find() const { return normalise(must(tracker_->find_written(mappings()))); }

  Board board_;
  std::unique_ptr<TestProcess> process_;
  std::unique_ptr<WriteTracker> tracker_;
};

INSTANTIATE_TEST_SUITE_P(By, WriteTracking, testing::Values(Tracking::kUffdWp, Tracking::kSoftDirty),
                         [](const auto& info) { return info.param == Tracking::kUffdWp ? "UffdWp" : "SoftDirty"; });

TEST_P(WriteTracking, FindsWhatIsNewAndThenWhatIsWritten) {
  start({[] { kHere[7 * kPageBytes] = 2; }, [] { std::memset(kHere + 100 * kPageBytes, 3, 100 * kPageBytes); }});
  EXPECT_EQ(take(), PageRanges{all(kHere)});
  EXPECT_EQ(take(), PageRanges{});
  next_step();
  EXPECT_EQ(take(), (PageRanges{pages(kHere, 7, 1)}));
  next_step();
  EXPECT_EQ(find(), (PageRanges{pages(kHere, 100, 100)}));
  EXPECT_EQ(find(), (PageRanges{pages(kHere, 100, 100)}));
  EXPECT_EQ(take(), (PageRanges{pages(kHere, 100, 100)}));
  EXPECT_EQ(find(), PageRanges{});
}

TEST_P(WriteTracking, WhatWasOnlyReadIsNotFound) {
  start({[] {
    for (size_t at = 0; at < kBytes; at += kPageBytes) (void)*const_cast<volatile char*>(kHere + at);
  }});
  (void)take();
  next_step();
  EXPECT_EQ(find(), PageRanges{});
}

TEST_P(WriteTracking, ANewMappingIsFoundWhole) {
  start({[] { std::memset(map_at(kThere, 10 * kPageBytes), 1, 10 * kPageBytes); }});
  (void)take();
  next_step();
  EXPECT_EQ(take(), PageRanges{pages(kThere, 0, 10)});
  EXPECT_EQ(take(), PageRanges{});
}

TEST_P(WriteTracking, AMappingInThePlaceOfAnotherIsFound) {
  start({[] { std::memset(map_at(kHere, 10 * kPageBytes), 2, 5 * kPageBytes); }});
  (void)take();
  next_step();
  EXPECT_EQ(find(), PageRanges{pages(kHere, 0, 5)});
}

// Whole page tables are moved, with what they say about pages.
TEST_P(WriteTracking, MovedMemoryIsFoundAtItsNewPlace) {
  start({[] { move(kHere, kThere); }});
  (void)take();
  next_step();
  EXPECT_EQ(find(), PageRanges{all(kThere)});
  EXPECT_EQ(take(), PageRanges{all(kThere)});
}

TEST_P(WriteTracking, MovedMemoryIsFoundWhereOtherMemoryWas) {
  start({[] { move(kHere, kThere); }}, [] {
    ::madvise(map_at(kThere), kBytes, MADV_NOHUGEPAGE);
    std::memset(kThere, 2, kBytes);
  });
  EXPECT_EQ(take(), (PageRanges{all(kHere), all(kThere)}));
  next_step();
  EXPECT_EQ(find(), PageRanges{all(kThere)});
}

TEST_P(WriteTracking, MemoryThatWasExchangedIsFound) {
  start({[] {
          char* const aside = kThere + (uint64_t{1} << 40);
          move(kHere, aside);
          move(kThere, kHere);
          move(aside, kThere);
        }},
        [] {
          ::madvise(map_at(kThere), kBytes, MADV_NOHUGEPAGE);
          std::memset(kThere, 2, kBytes);
        });
  (void)take();
  next_step();
  EXPECT_EQ(find(), (PageRanges{all(kHere), all(kThere)}));
}

// What has been moved away and comes back is one mapping with its neighbour again, and the kernel takes the whole of it
// out of what is tracked.
TEST_P(WriteTracking, TheNeighbourOfWhatComesBackIsFound) {
  constexpr size_t kHalf = kBytes / 2;
  const auto move_half = [](char* from, char* to) { ::mremap(from, kHalf, kHalf, MREMAP_MAYMOVE | MREMAP_FIXED, to); };
  start({[=] { move_half(kHere + kHalf, kThere); },
         [=] {
           move_half(kThere, kHere + kHalf);
           std::memset(kHere, 2, 100 * kPageBytes);
         }});
  (void)take();
  next_step();
  (void)take();
  next_step();
  const PageRanges found = find();
  for (size_t page = 0; page < 100; ++page) ASSERT_TRUE(contains(found, remote(kHere) + page * kPageBytes)) << page;
}

TEST_P(WriteTracking, WhatIsKnownToHaveContentHasIt) {
  start({[] { ::madvise(kHere + 10 * kPageBytes, 10 * kPageBytes, MADV_DONTNEED); }});
  (void)take();
  next_step();
  (void)find();
  const auto content = must(find_populated(must(PagemapScan::open(process_->pid())), mappings()));
  EXPECT_EQ(normalise(tracker_->populated().value_or(content)), normalise(content));
}

// What the target has of such a page is not what it is now: it must be found, or count as without content.
TEST_P(WriteTracking, WhatWasGivenBackAndReadIsZeroNow) {
  for (const int advice : {MADV_NOHUGEPAGE, MADV_HUGEPAGE}) {
    board_[0] = board_[1] = 0;
    start({[advice] {
      ::madvise(kHere, kBytes, advice);
      ::madvise(kHere, kBytes, MADV_DONTNEED);
      for (size_t at = 0; at < kBytes; at += kPageBytes) (void)*const_cast<volatile char*>(kHere + at);
    }});
    (void)take();
    next_step();
    const PageRanges written = find();
    const PageRanges content = must(find_populated(must(PagemapScan::open(process_->pid())), mappings()));
    EXPECT_EQ(subtract(normalise(content), written), PageRanges{}) << advice;
  }
}

TEST_P(WriteTracking, OneWriteToAHugePageIsFound) {
  start({[] { kThere[5 * kPageBytes] = 2; }}, [] {
    ::madvise(map_at(kThere), kBytes, MADV_HUGEPAGE);
    std::memset(kThere, 1, kBytes);
  });
  (void)take();
  next_step();
  const PageRanges written = find();
  EXPECT_TRUE(contains(written, remote(kThere) + 5 * kPageBytes));
  EXPECT_LE(count_pages(written), kRegionPages);
}

TEST_P(WriteTracking, AWriteAfterTheProtectionChangedIsFound) {
  start({[] {
    ::mprotect(kHere, kBytes, PROT_READ);
    ::mprotect(kHere, kBytes, PROT_READ | PROT_WRITE);
    kHere[9 * kPageBytes] = 2;
  }});
  (void)take();
  next_step();
  EXPECT_EQ(find(), PageRanges{pages(kHere, 9, 1)});
}

TEST_P(WriteTracking, AChildIsTrackedForItself) {
  start({[this] {
    if (::fork() != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    kHere[3 * kPageBytes] = 4;
    board_[2] = static_cast<uint64_t>(::getpid());
    for (;;) ::pause();
  }});
  (void)take();
  next_step();
  ASSERT_TRUE(await([&] { return board_[2] != 0; }));
  EXPECT_EQ(find(), PageRanges{});
  auto child = must(attach_tracker(GetParam(), static_cast<pid_t>(board_[2])));
  EXPECT_EQ(normalise(must(child->take_written(mappings()))), PageRanges{all(kHere)});
  EXPECT_EQ(normalise(must(child->take_written(mappings()))), PageRanges{});
}

TEST(WriteTrackingProbe, TakesTheBestOfWhatThisKernelHas) {
  EXPECT_FALSE(can_track(Tracking::kNone));
  EXPECT_FALSE(attach_tracker(Tracking::kNone, ::getpid()));
  // What has PAGEMAP_SCAN (6.7) has asynchronous write protection as well.
  EXPECT_EQ(can_track(Tracking::kUffdWp), must(PagemapScan::open(::getpid())).works());
  if (can_track(Tracking::kUffdWp)) {
    EXPECT_EQ(probe_tracking(), Tracking::kUffdWp);
  } else {
    EXPECT_EQ(probe_tracking(), can_track(Tracking::kSoftDirty) ? Tracking::kSoftDirty : Tracking::kNone);
  }
}

}  // namespace
}  // namespace godwit
