// The source's answers from a frozen copy whose first agent is gone, with memory of a real process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "migration/page_answering.h"
#include "migration/test_memory_link.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

using testing::HasSubstr;

constexpr SpaceId kSpace = 9;
constexpr RemoteAddr kBase{0x310000000000};
constexpr uint64_t kPages = 600;

RemoteAddr page(uint64_t number) { return kBase + number * kPageBytes; }

class PageAnsweringKernelTest : public testing::Test {
 protected:
  PageAnsweringKernelTest() {
    if (!process_.await_call(SYS_pause)) throw std::runtime_error("the process does not come to rest");
    auto ends = link_.connect(3);
    target_ = std::move(ends.target);
    answering_.emplace(std::move(ends.source), std::map<SpaceId, pid_t>{{kSpace, process_.pid()}},
                       std::make_shared<RateLimit>(0));
  }
  void request(const PageRanges& ranges, SpaceId space = kSpace) {
    std::vector<wire::PageRun> runs;
    for (const PageRange& range : ranges) runs.push_back({range, false});
    Frame frame = plain_frame(wire::FrameType::kPageRequest, space);
    frame.header.count = static_cast<uint32_t>(runs.size());
    wire::encode_page_runs(runs, frame.payload);
    send(*target_, frame);
  }
  // Until as many pages have come; those with content are looked at.
  void expect(uint64_t pages, uint64_t zeros) {
    uint64_t seen = 0, seen_zeros = 0;
    std::string payload;
    while (seen < pages) {
      const wire::FrameHeader header = must(target_->receive_frame(payload));
      const size_t runs = size_t{header.count} * wire::kRunBytes;
      size_t at = runs;
      for (const wire::PageRun& run : must(wire::decode_page_runs(payload.substr(0, runs), header.count))) {
        seen += run.range.pages;
        if (run.zero) seen_zeros += run.range.pages;
        for (uint64_t i = 0; !run.zero && i < run.range.pages; ++i, at += kPageBytes) {
          uint64_t word = 0;
          std::memcpy(&word, payload.data() + at, sizeof word);
          EXPECT_EQ(word, (run.range.start + i * kPageBytes).value) << "another page's contents";
        }
      }
    }
    EXPECT_EQ(seen, pages);
    EXPECT_EQ(seen_zeros, zeros);
  }
  std::string reason() {
    for (const Deadline deadline = in_ms(20'000); !answering_->failure() && Clock::now() < deadline;)
      std::this_thread::yield();
    return answering_->failure() ? answering_->failure()->text() : "";
  }

  MemoryLink link_;
  // Each page begins with its address; every eighth is zero.
  TestProcess process_{[] {
    void* area = ::mmap(reinterpret_cast<void*>(kBase.value), kPages * kPageBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (area == MAP_FAILED) ::_exit(1);
    for (uint64_t i = 0; i < kPages; ++i)
      if (i % 8 != 7) *reinterpret_cast<volatile uint64_t*>(page(i).value) = page(i).value;
    for (;;) ::pause();
  }};
  std::unique_ptr<DataConnection> target_;
  std::optional<PageAnswering> answering_;
};

TEST_F(PageAnsweringKernelTest, GivesWhateverIsAskedForAsOftenAsItIsAskedFor) {
  for (int i = 0; i < 2; ++i) {
    request({{page(0), 512}, {page(512), 80}});
    expect(592, 74);
  }
  EXPECT_GE(answering_->counts().bytes, size_t{2} * 518 * kPageBytes);
  EXPECT_FALSE(answering_->failure());
}

TEST_F(PageAnsweringKernelTest, WhatIsNotMappedIsZero) {
  request({{page(kPages), 3}});
  expect(3, 3);
}

TEST_F(PageAnsweringKernelTest, MemoryOfAProcessThatHasEndedIsNotSentAsZeros) {
  ::kill(process_.pid(), SIGKILL);
  process_.wait();
  request({{page(0), 8}});
  EXPECT_THAT(reason(), HasSubstr("has ended"));
  EXPECT_EQ(answering_->counts().pages_zero, 0u);
}

TEST_F(PageAnsweringKernelTest, AProcessThatThereIsNotEndsIt) {
  request({{page(0), 8}}, kSpace + 1);
  EXPECT_THAT(reason(), HasSubstr("there is not"));
}

TEST_F(PageAnsweringKernelTest, ARequestThatIsNoneEndsIt) {
  send(*target_, pages_frame(kSpace, {{page(0), 1}}));
  EXPECT_THAT(reason(), HasSubstr("something odd"));
}

TEST_F(PageAnsweringKernelTest, ALostLinkIsSaid) {
  target_.reset();
  EXPECT_NE(reason(), "");
}

}  // namespace
}  // namespace godwit
