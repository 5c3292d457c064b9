// The source's end of the memory connections, with memory of real processes, against a target that asks for what it
// should not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "memory/memory_map.h"
#include "migration/page_sending.h"
#include "migration/test_memory_link.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

using testing::HasSubstr;
using wire::FrameType;

constexpr SpaceId kSpace = 1;
constexpr RemoteAddr kBase{0x310000000000};
constexpr uint64_t kPages = 1024;

RemoteAddr page(uint64_t number) { return kBase + number * kPageBytes; }

class PageSendingKernelTest : public testing::Test {
 protected:
  PageSendingKernelTest() {
    PageSending::Settings settings;
    for (uint16_t channel = 1; channel <= 3; ++channel) {
      auto ends = link_.connect(channel);
      (channel == 3 ? settings.requests : settings.streams.emplace_back()) = std::move(ends.source);
      targets_.push_back(std::move(ends.target));
    }
    sending_ = std::make_unique<PageSending>(std::move(settings));
    if (!process_.await_call(SYS_pause)) throw std::runtime_error("the process does not come to rest");
  }
  // Reads frames of channel CHANNEL until one of TYPE; the pages with content that came until then.
  std::vector<PageRange> pages_until(uint32_t channel, FrameType type) {
    std::vector<PageRange> pages;
    std::string payload;
    for (;;) {
      const wire::FrameHeader header = must(targets_[channel - 1]->receive_frame(payload));
      if (header.type == FrameType::kPages) note(header, payload, pages);
      if (header.type == FrameType::kSync) must(targets_[channel - 1]->send_frame({.type = FrameType::kSync}));
      if (header.type == type) return pages;
    }
  }
  void note(const wire::FrameHeader& header, std::string_view payload, std::vector<PageRange>& pages) {
    const size_t runs = size_t{header.count} * wire::kRunBytes;
    size_t at = runs;
    for (const wire::PageRun& run : must(wire::decode_page_runs(payload.substr(0, runs), header.count))) {
      if (run.zero) {
        zeros_ += run.range.pages;
        continue;
      }
      pages.push_back(run.range);
      for (RemoteAddr address = run.range.start; address < run.range.end(); address = address + kPageBytes) {
        uint64_t word = 0;
        std::memcpy(&word, payload.data() + at, sizeof word);
        EXPECT_EQ(word, address.value) << "another page's contents";
        at += kPageBytes;
      }
    }
  }
  void freeze(const PageRanges& owed) {
    must(sending_->begin_owed(
        {{.space = kSpace, .pid = process_.pid(), .populated = {{page(0), kPages}}, .owed = owed, .read_first = {}}},
        true));
  }
  void request(const PageRanges& ranges, SpaceId space = kSpace) {
    std::vector<wire::PageRun> runs;
    for (const PageRange& range : ranges) runs.push_back({range, false});
    Frame frame{{.type = FrameType::kPageRequest, .index = space, .count = static_cast<uint32_t>(runs.size())}, {}};
    wire::encode_page_runs(runs, frame.payload);
    send(*targets_[2], frame);
  }
  std::string reason() {
    for (const Deadline deadline = in_ms(20'000); !sending_->failure() && Clock::now() < deadline;)
      std::this_thread::yield();
    return sending_->failure() ? sending_->failure()->text() : "";
  }

  MemoryLink link_;
  // Each page begins with its address; every eighth is zero.
  TestProcess process_{[] {
    void* area = ::mmap(reinterpret_cast<void*>(kBase.value), kPages * kPageBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (area == MAP_FAILED) ::_exit(1);
    for (uint64_t i = 0; i < kPages; ++i)
      *reinterpret_cast<volatile uint64_t*>(page(i).value) = i % 8 == 7 ? 0 : page(i).value;
    for (;;) ::pause();
  }};
  std::vector<std::unique_ptr<DataConnection>> targets_;
  std::unique_ptr<PageSending> sending_;
  uint64_t zeros_ = 0;
};

uint64_t count(const std::vector<PageRange>& ranges) {
  uint64_t pages = 0;
  for (const PageRange& range : ranges) pages += range.pages;
  return pages;
}

TEST_F(PageSendingKernelTest, ARoundSendsEachPageOnceOnTheStreamOfItsRegion) {
  std::jthread round([&] {
    const PageCounts sent = must(sending_->send_round({{kSpace, process_.pid(), {{page(0), kPages}}}}));
    EXPECT_EQ(sent.pages, kPages / 8 * 7);
    EXPECT_EQ(sent.pages_zero, kPages / 8);
  });
  uint64_t pages = 0;
  for (uint32_t channel : {1, 2})
    for (const PageRange& range : pages_until(channel, FrameType::kSync)) {
      EXPECT_EQ(stream_of(kSpace, range.start, 2) + 1, channel);
      pages += range.pages;
    }
  EXPECT_EQ(pages, kPages / 8 * 7);
  EXPECT_EQ(zeros_, kPages / 8);
}

TEST_F(PageSendingKernelTest, WhatCannotBeReadInARoundIsRememberedAndAtTheFreezeIsZero) {
  const PageRanges beyond{{page(kPages), 3}};
  std::jthread round([&] { must(sending_->send_round({{kSpace, process_.pid(), {{page(kPages - 1), 4}}}})); });
  for (uint32_t channel : {1, 2}) pages_until(channel, FrameType::kSync);
  round.join();
  EXPECT_EQ(sending_->unsent(kSpace), beyond);
  zeros_ = 0;
  freeze(beyond);
  for (uint32_t channel : {1, 2}) EXPECT_TRUE(pages_until(channel, FrameType::kPagesEnd).empty());
  EXPECT_EQ(zeros_, 3u);
}

TEST_F(PageSendingKernelTest, RequestedPagesComeOnTheirOwnConnectionAsOftenAsTheyAreAskedFor) {
  freeze({{page(0), 100}});
  for (uint32_t channel : {1, 2}) pages_until(channel, FrameType::kPagesEnd);
  for (int i = 0; i < 2; ++i) {
    request({{page(2), 5}});
    EXPECT_EQ(count(pages_until(3, FrameType::kPages)), 5u);
  }
  EXPECT_EQ(sending_->owed_left(), 0u);
}

TEST_F(PageSendingKernelTest, WhatWasNeverOwedIsNotGivenOut) {
  freeze({{page(0), 10}});
  request({{page(10), 100}, {page(600), 1}, {{0}, 1}, {{uint64_t{1} << 55}, kRegionPages}});
  request({{page(0), 10}}, kSpace + 1);
  request({{page(5), 50}});                                 // half of it is
  EXPECT_EQ(count(pages_until(3, FrameType::kPages)), 4u);  // page 7 is zero
  EXPECT_FALSE(sending_->failure());
}

TEST_F(PageSendingKernelTest, ARequestThatIsNoneEndsIt) {
  freeze({{page(0), 10}});
  send(*targets_[2], pages_frame(kSpace, {{page(0), 1}}));
  EXPECT_THAT(reason(), HasSubstr("something odd"));
}

TEST_F(PageSendingKernelTest, ARequestAcrossRegionsEndsIt) {
  freeze({{page(0), 10}});
  request({{page(500), 100}});
  EXPECT_THAT(reason(), HasSubstr("leaves its region"));
}

TEST_F(PageSendingKernelTest, AProcessThatHasEndedIsZeros) {
  ::kill(process_.pid(), SIGKILL);
  process_.wait();
  freeze({{page(0), 20}});
  for (uint32_t channel : {1, 2}) EXPECT_TRUE(pages_until(channel, FrameType::kPagesEnd).empty());
  EXPECT_EQ(zeros_, 20u);
}

TEST_F(PageSendingKernelTest, ALinkThatBreaksEndsARoundAndANewOneGoesOnWithRequests) {
  freeze({{page(0), 200}});
  pages_until(1, FrameType::kPagesEnd);
  targets_.clear();
  EXPECT_NE(reason(), "");
  const uint64_t bytes = sending_->bytes_on_wire();
  for (int i = 0; i < 2; ++i) {
    auto ends = link_.connect(3);
    targets_.clear();
    targets_.resize(2);
    targets_.push_back(std::move(ends.target));
    sending_->resume(std::move(ends.source));
    EXPECT_FALSE(sending_->failure());
    request({{page(100), 7}});
    EXPECT_EQ(count(pages_until(3, FrameType::kPages)), 6u);  // page 103 is zero
  }
  sending_->end();
  EXPECT_GE(sending_->bytes_on_wire(), bytes + 12 * kPageBytes);
}

TEST_F(PageSendingKernelTest, ATargetThatDoesNotReadDoesNotKeepItFromBeingCancelled) {
  std::jthread round([&] { EXPECT_FALSE(sending_->send_round({{kSpace, process_.pid(), {{page(0), kPages}}}})); });
  for (uint64_t before = 0; before != sending_->bytes_on_wire(); std::this_thread::sleep_for(milliseconds(50)))
    before = sending_->bytes_on_wire();  // until nothing goes any more
  sending_->cancel();
}

}  // namespace
}  // namespace godwit
