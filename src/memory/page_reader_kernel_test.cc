#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/test_support.h"
#include "memory/page_reader.h"
#include "memory/page_set.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

// A child that has a copy of the memory prepared here.
class PageReader : public testing::Test {
 protected:
  PageReader() {
    memory_ = static_cast<char*>(
        ::mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < kPages; ++i) std::memcpy(memory_ + i * kPageBytes, &i, sizeof i);
  }
  ~PageReader() override { ::munmap(memory_, kPages * kPageBytes); }
  RemoteAddr page(size_t index) const { return RemoteAddr{reinterpret_cast<uint64_t>(memory_)} + index * kPageBytes; }
  char* here(size_t index) const { return memory_ + index * kPageBytes; }
  void start(const std::function<void()>& change) {
    process_ = std::make_unique<TestProcess>([&] {
      change();
      board_[0] = 1;
      for (;;) ::pause();
    });
    ASSERT_TRUE(await([&] { return board_[0] == 1; }));
  }
  void read(const PageRanges& pages) {
    out_.assign(count_pages(pages) * kPageBytes, std::byte{0xee});
    unreadable_.clear();
    must(read_pages(process_->pid(), pages, out_, unreadable_));
    unreadable_ = normalise(std::move(unreadable_));
  }
  // The number that the page read as number INDEX has in it.
  size_t number(size_t index) const {
    size_t value = 0;
    std::memcpy(&value, out_.data() + index * kPageBytes, sizeof value);
    return value;
  }
  void expect_all(const PageRanges& pages) {
    size_t index = 0;
    for (const PageRange& range : pages)
      for (uint64_t i = 0; i < range.pages; ++i, ++index) {
        const RemoteAddr address = range.start + i * kPageBytes;
        if (contains(unreadable_, address)) continue;
        EXPECT_EQ(number(index), (address - page(0)) / kPageBytes);
      }
  }

  static constexpr size_t kPages = 8192;
  char* memory_;
  Board board_;
  std::unique_ptr<TestProcess> process_;
  std::vector<std::byte> out_;
  PageRanges unreadable_;
};

TEST_F(PageReader, ReadsOneRange) {
  start([] {});
  read({{page(5), 1000}});
  EXPECT_EQ(unreadable_, PageRanges{});
  expect_all({{page(5), 1000}});
}

TEST_F(PageReader, ReadsMoreRangesThanOneCallTakes) {
  start([] {});
  PageRanges every_second;
  for (size_t i = 0; i < kPages; i += 2) every_second.push_back({page(i), 1});
  read(every_second);
  EXPECT_EQ(unreadable_, PageRanges{});
  expect_all(every_second);
}

TEST_F(PageReader, WhatIsNotMappedIsToldAndTheRestRead) {
  start([&] {
    ::munmap(here(0), 3 * kPageBytes);
    ::munmap(here(100), 50 * kPageBytes);
    ::munmap(here(kPages - 1), kPageBytes);
  });
  read({{page(0), kPages}});
  EXPECT_EQ(unreadable_, (PageRanges{{page(0), 3}, {page(100), 50}, {page(kPages - 1), 1}}));
  expect_all({{page(0), kPages}});
}

TEST_F(PageReader, HolesAmongManyRangesDoNotShiftWhatFollows) {
  start([&] {
    for (size_t i = 0; i < kPages; i += 7) ::munmap(here(i), kPageBytes);
  });
  PageRanges every_third, expected;
  for (size_t i = 0; i < kPages; i += 3) every_third.push_back({page(i), 1});
  for (size_t i = 0; i < kPages; i += 21) expected.push_back({page(i), 1});
  read(every_third);
  EXPECT_EQ(unreadable_, expected);
  expect_all(every_third);
}

TEST_F(PageReader, ReadsWhatTheProcessItselfMayNot) {
  start([&] { ::mprotect(here(10), 20 * kPageBytes, PROT_NONE); });
  read({{page(0), 40}});
  EXPECT_EQ(unreadable_, PageRanges{});
  expect_all({{page(0), 40}});
}

TEST_F(PageReader, GuardPagesAreTold) {
  constexpr int kGuardInstall = 102;
  if (::madvise(here(0), kPageBytes, kGuardInstall) != 0) GTEST_SKIP() << "this kernel has no guard pages";
  start([&] { ::madvise(here(7), kPageBytes, kGuardInstall); });
  read({{page(6), 3}});
  EXPECT_TRUE(contains(unreadable_, page(7)));
  expect_all({{page(6), 3}});
}

TEST_F(PageReader, AProcessThatHasEndedIsAnErrorOfItsOwn) {
  start([] {});
  ::kill(process_->pid(), SIGKILL);
  std::vector<std::byte> out(kPageBytes);
  PageRanges unreadable;
  ASSERT_TRUE(await([&] { return process_->state() == 'Z'; }));
  auto result = read_pages(process_->pid(), {{page(0), 1}}, out, unreadable);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ESRCH);
}

TEST_F(PageReader, WithoutRoomNothingIsRead) {
  start([] {});
  std::vector<std::byte> out(kPageBytes);
  PageRanges unreadable;
  EXPECT_FALSE(read_pages(process_->pid(), {{page(0), 2}}, out, unreadable));
  EXPECT_TRUE(read_pages(process_->pid(), {}, out, unreadable));
}

}  // namespace
}  // namespace godwit
