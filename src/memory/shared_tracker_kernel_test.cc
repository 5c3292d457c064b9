// Whatever a process does to shared memory between two looks, what is sent for it makes the copy right; and what it
// writes in its ordinary mapping is all that is read again.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/page.h"
#include "base/test_support.h"
#include "memory/shared_contents.h"
#include "memory/shared_staging.h"
#include "memory/shared_tracker.h"
#include "memory/write_tracker.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

constexpr size_t kPages = 256;
constexpr size_t kBytes = kPages * kPageBytes;

class Link : public SharedSink {
 public:
  explicit Link(SharedStaging& staging) : staging_(staging) {}
  Result<> object(uint64_t inode, std::string_view name) override {
    last = inode;
    return staging_.object(inode, name);
  }
  Result<> object_gone(uint64_t inode) override { return staging_.object_gone(inode); }
  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) override {
    bytes += pages.size();
    return staging_.content(inode, offset, pages);
  }
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t count) override {
    return staging_.zeros(inode, offset, count);
  }
  uint64_t last = 0, bytes = 0;

 private:
  SharedStaging& staging_;
};

// A child that has shared anonymous memory mapped, which is the test's as well, and does to it what it is told.
class SharedTrackerTest : public testing::Test {
 protected:
  using Act = std::function<void(char* memory)>;

  void SetUp() override {
    if (!can_track(Tracking::kUffdWp)) GTEST_SKIP() << "this kernel has no asynchronous write protection";
    memory_ = static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::memset(memory_, 1, kBytes);
  }
  void TearDown() override {
    child_.reset();
    if (memory_ != nullptr) ::munmap(memory_, kBytes);
  }
  // ACTS are done one after the other, each when it is asked for.
  void start(std::vector<Act> acts) {
    child_ = std::make_unique<TestProcess>([this, acts = std::move(acts)] {
      std::memset(memory_, 2, kBytes);  // each page has an entry in its page tables
      for (size_t i = 0; i < acts.size(); ++i) {
        board_[0] = i + 1;
        while (board_[1] != i + 1) ::usleep(200);
        acts[i](memory_);
      }
      board_[0] = acts.size() + 1;
      ::pause();
    });
    ASSERT_TRUE(await([&] { return board_[0] == 1; }));
  }
  void act() {
    const uint64_t next = board_[1] + 1;
    board_[1] = next;
    ASSERT_TRUE(await([&] { return board_[0] == next + 1; }));
  }
  std::vector<pid_t> processes() const { return {child_->pid()}; }
  void pass() {
    const MappedLook look = tracker_->take(processes());
    contents_->find(processes());
    must(contents_->send_changes(link_, look));
  }
  // Returns the bytes that were sent for it.
  uint64_t last_pass() {
    const uint64_t before = link_.bytes;
    const MappedLook look = tracker_->find(processes());
    must(staging_.apply(must(contents_->send_last_changes(link_, look))));
    must(contents_->send_open_objects(link_, look));
    return link_.bytes - before;
  }
  bool is_right() {
    const auto file = staging_.take(link_.last);
    std::string text(kBytes, '\0');
    if (!file || ::pread(file->get(), text.data(), kBytes, 0) != kBytes) return false;
    return std::memcmp(text.data(), memory_, kBytes) == 0;
  }
  void expect_right_after(Act first) {
    start({std::move(first)});
    pass();
    pass();
    act();
    last_pass();
    EXPECT_TRUE(is_right());
  }

  char* memory_ = nullptr;
  Board board_;
  std::unique_ptr<TestProcess> child_;
  std::unique_ptr<SharedContents> contents_ = must(SharedContents::create());
  SharedStaging staging_;
  Link link_{staging_};
  std::unique_ptr<SharedTracker> tracker_ =
      must(SharedTracker::start({.wanted = [this](const Mapping& mapping) { return contents_->is_object(mapping); },
                                 .hold_still = [this]() -> Result<> {
                                   ::kill(child_->pid(), SIGSTOP);
                                   return {};
                                 },
                                 .let_go = [this]() -> Result<> {
                                   ::kill(child_->pid(), SIGCONT);
                                   return {};
                                 }}));
};

TEST_F(SharedTrackerTest, OnlyWhatWasWrittenIsReadAgain) {
  start({[](char* memory) { memory[3 * kPageBytes] = 3; }, [](char* memory) { memory[7 * kPageBytes] = 4; }});
  pass();
  EXPECT_GE(link_.bytes, kBytes);
  const uint64_t before = link_.bytes;
  act();
  memory_[9 * kPageBytes] = 9;  // by nobody who is looked at: a read of the whole would find it
  pass();
  EXPECT_EQ(link_.bytes - before, kPageBytes);
  act();
  EXPECT_EQ(last_pass(), kPageBytes);
  EXPECT_FALSE(is_right());
  memory_[9 * kPageBytes] = 2;
  EXPECT_TRUE(is_right());
}

TEST_F(SharedTrackerTest, WhatIsWrittenByAnotherMappingIsFound) {
  expect_right_after([](char* memory) {
    auto* second = static_cast<char*>(::mremap(memory, 0, kBytes, MREMAP_MAYMOVE));
    second[5 * kPageBytes] = 5;
    ::munmap(second, kBytes);
  });
}

TEST_F(SharedTrackerTest, WhatAChildWritesThatHasEndedIsFound) {
  expect_right_after([](char* memory) {
    const pid_t child = ::fork();
    if (child == 0) {
      memory[5 * kPageBytes] = 5;
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  });
}

TEST_F(SharedTrackerTest, WhatWasWrittenBeforeTheMappingWentIsFound) {
  expect_right_after([](char* memory) {
    memory[5 * kPageBytes] = 5;
    ::munmap(memory, kBytes / 2);
  });
}

TEST_F(SharedTrackerTest, WhatWasWrittenWhereTheMappingHasMovedIsFound) {
  expect_right_after([](char* memory) {
    auto* moved = static_cast<char*>(::mremap(memory, kBytes, 2 * kBytes, MREMAP_MAYMOVE));
    moved[5 * kPageBytes] = 5;
  });
}

TEST_F(SharedTrackerTest, WhatTheKernelHasForgottenIsFound) {
  expect_right_after([](char* memory) {
    std::memset(memory + 5 * kPageBytes, 5, kPageBytes);
    ::madvise(memory, kBytes, MADV_DONTNEED);
    ::madvise(memory, kBytes, MADV_PAGEOUT);
  });
}

TEST_F(SharedTrackerTest, RemovedContentIsFound) {
  expect_right_after([](char* memory) {
    ::madvise(memory + 5 * kPageBytes, kPageBytes, MADV_REMOVE);
    (void)*static_cast<volatile char*>(memory + 5 * kPageBytes);  // it is there again, and zero
  });
}

}  // namespace
}  // namespace godwit
