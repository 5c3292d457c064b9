#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <cstring>

#include "base/test_support.h"
#include "memory/page_set.h"
#include "memory/uffd_wp_tracker.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

// A child with PAGES pages of content, which writes them all when it is told to. What is looked at is the range given,
// which need not be what maps says: a process may change that in between.
class UffdWp : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_track(Tracking::kUffdWp)) GTEST_SKIP() << "this kernel has no asynchronous write protection";
  }
  enum Word { kReady, kWrite, kAddress };
  static constexpr size_t kPages = 2000;

  void start(const std::function<void(char*)>& prepare = [](char*) {}) {
    process_ = std::make_unique<TestProcess>([&] {
      auto* memory = static_cast<char*>(
          ::mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      std::memset(memory, 1, kPages * kPageBytes);
      prepare(memory);
      board_[kAddress] = reinterpret_cast<uint64_t>(memory);
      board_[kReady] = 1;
      for (;; ::usleep(200)) {
        if (board_[kWrite] == 0) continue;
        std::memset(memory, 2, kPages * kPageBytes);
        board_[kWrite] = 0;
      }
    });
    ASSERT_TRUE(await([&] { return board_[kReady] == 1; }));
  }
  void write_all() {
    board_[kWrite] = 1;
    ASSERT_TRUE(await([&] { return board_[kWrite] == 0; }));
  }
  PageRange pages(size_t first, size_t count) const {
    return {RemoteAddr{board_[kAddress]} + first * kPageBytes, count};
  }
  static std::vector<Mapping> as_mapping(const PageRange& range) {
    Mapping mapping;
    mapping.start = range.start;
    mapping.end = range.end();
    return {mapping};
  }
  std::unique_ptr<WriteTracker> attach() const { return must(UffdWpTracker::attach(process_->pid())); }
  Board board_;
  std::unique_ptr<TestProcess> process_;
};

TEST_F(UffdWp, FindsWhatIsNewAndThenWhatIsWritten) {
  start();
  const auto all = as_mapping(pages(0, kPages));
  auto tracker = attach();
  EXPECT_EQ(must(tracker->take_written(all)), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(tracker->take_written(all)), PageRanges{});
  write_all();
  EXPECT_EQ(must(tracker->find_written(all)), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(tracker->take_written(all)), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(tracker->find_written(all)), PageRanges{});
}

// The scan protects what is tracked already, and fails where it is not.
TEST_F(UffdWp, WhatAScanProtectedBeforeItFailedIsNotLost) {
  start();
  auto tracker = attach();
  EXPECT_EQ(must(tracker->take_written(as_mapping(pages(0, 500)))), PageRanges{pages(0, 500)});
  write_all();
  EXPECT_EQ(must(tracker->take_written(as_mapping(pages(0, kPages)))), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(tracker->take_written(as_mapping(pages(0, kPages)))), PageRanges{});
}

TEST_F(UffdWp, WhatAnotherTrackerProtectedCountsAsNew) {
  start();
  const auto all = as_mapping(pages(0, kPages));
  auto first = attach();
  (void)must(first->take_written(all));
  auto second = attach();
  EXPECT_EQ(must(second->take_written(all)), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(second->take_written(all)), PageRanges{pages(0, kPages)});
  first.reset();
  EXPECT_EQ(must(second->take_written(all)), PageRanges{pages(0, kPages)});
  EXPECT_EQ(must(second->take_written(all)), PageRanges{});
}

TEST_F(UffdWp, WhatTheProgramItselfHasRegisteredIsWrittenEachTime) {
  start([](char* memory) {
    const int uffd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* user mode only */));
    uffdio_api api{};
    api.api = UFFD_API;
    uffdio_register request{};
    request.range = {reinterpret_cast<uint64_t>(memory) + 100 * kPageBytes, 10 * kPageBytes};
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (::ioctl(uffd, UFFDIO_API, &api) != 0 || ::ioctl(uffd, UFFDIO_REGISTER, &request) != 0) ::_exit(1);
  });
  auto tracker = attach();
  const auto before = as_mapping(pages(0, 100)), theirs = as_mapping(pages(100, 10));
  std::vector<Mapping> owned{before[0], theirs[0]};
  EXPECT_EQ(normalise(must(tracker->take_written(owned))), PageRanges{pages(0, 110)});
  EXPECT_TRUE(contains(must(tracker->take_written(owned)), pages(100, 1).start));
  EXPECT_EQ(must(tracker->find_written(owned)), PageRanges{pages(100, 10)});
}

TEST_F(UffdWp, AnEndedTrackerLeavesNoProtection) {
  start();
  const auto all = as_mapping(pages(0, kPages));
  (void)must(attach()->take_written(all));
  PageRanges unwritten;
  must(must(PagemapScan::open(process_->pid())).find({.none_of = kPageWritten}, all[0].start, all[0].end, unwritten));
  EXPECT_EQ(unwritten, PageRanges{});
}

}  // namespace
}  // namespace godwit
