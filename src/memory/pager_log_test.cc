// What a pager leaves behind for the next one, and what of it is believed.
#include "memory/pager_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#include <cstring>
#include <random>

#include "base/test_support.h"

namespace godwit {
namespace {

using testing::HasSubstr;
using Kind = PagerStep::Kind;

constexpr RemoteAddr kBase{0x600000000000};

PageRange pages(uint64_t first, uint64_t count) { return {kBase + first * kPageBytes, count}; }

PagerStep step(Kind kind, int number, PageRange range = {}, uint32_t to = 0, RemoteAddr place = {}) {
  return {.kind = kind, .number = number, .to = to, .pages = range, .place = place};
}

RegionMap region(uint64_t number, uint64_t bit) {
  RegionMap map{.start = kBase + number * kRegionBytes, .present = {}, .owed = {}};
  map.present.set(bit);
  return map;
}

// As the next agent has it: another descriptor of the same file.
std::unique_ptr<PagerLog> successor(const PagerLog& log) { return must(PagerLog::reopen(ScopedFd(::dup(log.fd())))); }

std::string why(const PagerLog& log) {
  auto history = log.history();
  return history ? "" : history.error().text();
}

TEST(PagerLog, SaysWhatHasHappenedInOrder) {
  auto log = must(PagerLog::create("who"));
  log->map(7, std::vector{region(0, 3), region(5, 511)});
  log->map(8, {});
  log->step(step(Kind::kSpace, 0, {}, 7));
  log->step(step(Kind::kFork, 0, {}, 1));
  log->step(step(Kind::kMove, 1, pages(2, 3), 0, kBase + kRegionBytes));
  const auto history = must(successor(*log)->history());
  EXPECT_EQ(history.owner, "who");
  ASSERT_EQ(history.maps.size(), 2u);
  EXPECT_EQ(history.maps.at(7)[1].start, kBase + 5 * kRegionBytes);
  EXPECT_TRUE(history.maps.at(7)[1].present.test(511));
  EXPECT_EQ(history.maps.at(7)[1].owed, history.maps.at(7)[1].present);
  EXPECT_TRUE(history.maps.at(8).empty());
  ASSERT_EQ(history.steps.size(), 3u);
  EXPECT_EQ(history.steps[1].kind, Kind::kFork);
  EXPECT_EQ(history.steps[1].to, 1u);
  EXPECT_EQ(history.steps[2].pages, pages(2, 3));
  EXPECT_EQ(history.steps[2].place, kBase + kRegionBytes);
}

TEST(PagerLog, ASuccessorGoesOnWritingWhereTheOtherStopped) {
  auto log = must(PagerLog::create(""));
  log->step(step(Kind::kClose, 1));
  auto second = successor(*log);
  must(second->history());
  second->step(step(Kind::kClose, 2));
  const auto history = must(successor(*second)->history());
  ASSERT_EQ(history.steps.size(), 2u);
  EXPECT_EQ(history.steps[1].number, 2);
}

uffd_msg told(uint8_t event, uint64_t a, uint64_t b = 0, uint64_t c = 0) {
  uffd_msg message{};
  message.event = event;
  if (event == UFFD_EVENT_PAGEFAULT) message.arg.pagefault.address = a;
  if (event == UFFD_EVENT_UNMAP || event == UFFD_EVENT_REMOVE) message.arg.remove = {.start = a, .end = b};
  if (event == UFFD_EVENT_REMAP) message.arg.remap = {.from = a, .to = b, .len = c};
  return message;
}

// What a writer leaves that is killed when it has read MESSAGES and written down WRITTEN of them.
void read_and_die(PagerLog& log, const std::vector<uffd_msg>& messages, size_t written) {
  std::memcpy(log.begin_reading(6), messages.data(), messages.size() * sizeof(uffd_msg));
  log.have_written(written);
}

TEST(PagerLog, ASuccessorFindsWhatWasReadAndNotWrittenDown) {
  auto log = must(PagerLog::create(""));
  const uint64_t base = kBase.value;
  read_and_die(*log,
               {told(UFFD_EVENT_REMOVE, base, base + kPageBytes), told(UFFD_EVENT_PAGEFAULT, base),
                told(UFFD_EVENT_REMAP, base, base + kRegionBytes, 2 * kPageBytes),
                told(UFFD_EVENT_UNMAP, base, base + 2 * kPageBytes)},
               1);
  auto second = successor(*log);
  EXPECT_THAT(why(*second), HasSubstr("was killed while it was told"));
  must(second->finish_reading());
  for (int i = 0; i < 2; ++i) {
    const auto history = must(successor(*second)->history());
    ASSERT_EQ(history.steps.size(), 2u);
    EXPECT_EQ(history.steps[0].kind, Kind::kMove);
    EXPECT_EQ(history.steps[0].number, 6);
    EXPECT_EQ(history.steps[0].place, kBase + kRegionBytes);
    EXPECT_EQ(history.steps[1].kind, Kind::kUnmap);
    must(second->finish_reading());  // nothing is left
  }
}

TEST(PagerLog, ALineThatWasNotCountedYetIsNotWrittenTwice) {
  auto log = must(PagerLog::create(""));
  log->step(step(Kind::kUnmap, 6, pages(0, 2)));
  read_and_die(*log, {told(UFFD_EVENT_UNMAP, kBase.value, kBase.value + 2 * kPageBytes)}, 0);
  must(log->finish_reading());
  EXPECT_EQ(must(log->history()).steps.size(), 1u);
}

TEST(PagerLog, FaultsThatWereReadNeedNoLine) {
  auto log = must(PagerLog::create(""));
  read_and_die(*log, {told(UFFD_EVENT_PAGEFAULT, kBase.value)}, 0);
  must(log->finish_reading());
  EXPECT_TRUE(must(log->history()).steps.empty());
}

TEST(PagerLog, IsOfNoUseIfItsWriterWasKilledBetweenReadingOfAForkAndWritingItDown) {
  auto log = must(PagerLog::create(""));
  read_and_die(*log, {told(UFFD_EVENT_FORK, 0)}, 0);
  EXPECT_FALSE(successor(*log)->finish_reading());
  EXPECT_NE(why(*successor(*log)), "");
}

TEST(PagerLog, IsOfNoUseOnceSomethingDidNotFit) {
  auto log = must(PagerLog::create(""));
  const std::vector<RegionMap> maps = [] {
    std::vector<RegionMap> list;
    for (uint64_t i = 0; i < 1'000'000; ++i) list.push_back(region(i, 0));
    return list;
  }();
  for (SpaceId space = 0; space < 3; ++space) log->map(space, maps);
  EXPECT_EQ(why(*log), "");
  log->map(3, maps);
  EXPECT_THAT(why(*successor(*log)), HasSubstr("more has happened"));
}

TEST(PagerLog, WhatIsNoLogIsRefused) {
  ScopedFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_FALSE(PagerLog::reopen(ScopedFd(::dup(file.get()))));
  ASSERT_EQ(::ftruncate(file.get(), kPageBytes), 0);
  EXPECT_FALSE(PagerLog::reopen(ScopedFd(::dup(file.get()))));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const ScopedFd write_end(ends[1]);
  EXPECT_FALSE(PagerLog::reopen(ScopedFd(ends[0])));
}

// Whatever the bytes are, they are refused or make sense; a line that was cut short is noticed.
TEST(PagerLog, DamageDoesNoHarm) {
  auto log = must(PagerLog::create("owner"));
  log->map(7, std::vector{region(0, 3), region(5, 511)});
  for (int i = 0; i < 8; ++i) log->step(step(Kind::kMove, i, pages(i, 3), 0, kBase));
  const off_t size = ::lseek(log->fd(), 0, SEEK_END);
  ASSERT_EQ(::ftruncate(log->fd(), size - 1), 0);
  EXPECT_THAT(why(*log), HasSubstr("cut short"));
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const char byte = static_cast<char>(random());
    const auto at = static_cast<off_t>(kPageBytes + random() % static_cast<uint64_t>(size - off_t{kPageBytes}));
    const ScopedFd plain(::open(("/proc/self/fd/" + std::to_string(log->fd())).c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(plain.get(), &byte, 1, at), 1);
    auto history = log->history();
    if (!history) continue;
    for (const PagerStep& step : history->steps) EXPECT_TRUE(step.number >= 0 && step.pages.start.page_aligned());
  }
}

}  // namespace
}  // namespace godwit
