// The target's end of the memory connections against a source that does not keep to the protocol.
#include "migration/page_receiving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/memory_map.h"
#include "memory/owed_pages.h"
#include "migration/test_memory_link.h"

namespace godwit {
namespace {

using testing::HasSubstr;
using wire::FrameType;

constexpr uint32_t kStreams = 2;
constexpr SpaceId kSpace = 2;
constexpr uint64_t kRegionsMax = 100;
constexpr RemoteAddr kBase{0x7f0000000000};

RemoteAddr page(uint64_t number) { return kBase + number * kPageBytes; }
// The one on which pages of region NUMBER belong.
uint32_t stream_of_region(uint64_t number) { return stream_of(kSpace, kBase + number * kRegionBytes, kStreams); }

class PageReceivingTest : public testing::Test {
 protected:
  PageReceivingTest() {
    receiving_->use(*pager_);
    for (uint16_t channel = 1; channel <= kStreams + 1; ++channel) {
      auto ends = link_.connect(channel);
      sources_.push_back(std::move(ends.source));
      EXPECT_TRUE(receiving_->accept(std::move(ends.target)));
    }
  }
  ~PageReceivingTest() override {
    if (receiving_) receiving_->end();
    pager_->stop();
    receiving_.reset();  // its threads use the pager
  }
  void say(uint32_t stream, const Frame& frame) { send(*sources_[stream], frame); }
  void say_frozen() {
    for (uint32_t stream = 0; stream < kStreams; ++stream) say(stream, plain_frame(FrameType::kFrozen));
  }
  // The maps of one process.
  void say_map(const PageRanges& populated, const PageRanges& owed) {
    for (const std::string& payload : encode_memory_map(populated, owed))
      say(0, plain_frame(FrameType::kMemoryMap, kSpace, payload));
    say(0, plain_frame(FrameType::kMapsEnd, 1));
  }
  void await_failure_told() const {
    for (const Deadline deadline = in_ms(20'000); failures_ == 0 && Clock::now() < deadline;) std::this_thread::yield();
  }
  // Why it has given up; it must.
  std::string reason() {
    auto maps = receiving_->await_map(in_ms(20'000));
    if (maps) {
      for (const Deadline deadline = in_ms(20'000); !receiving_->failure() && Clock::now() < deadline;)
        std::this_thread::yield();
    }
    return receiving_->failure() ? receiving_->failure()->text() : "";
  }

  MemoryLink link_;
  ScopedDirectory directory_;
  std::unique_ptr<PageStore> store_ = must(PageStore::create(4 * kRegionBytes));
  std::atomic<int> failures_ = 0;
  std::unique_ptr<PageReceiving> receiving_ =
      std::make_unique<PageReceiving>(*store_, kStreams, kRegionsMax, [this] { ++failures_; });
  std::unique_ptr<Pager> pager_ = must(
      Pager::start({.store = *store_,
                    .request = [this](SpaceId space, const PageRange& pages) { receiving_->request(space, pages); }},
                   directory_ / "lazy-pages.socket"));
  std::vector<std::unique_ptr<DataConnection>> sources_;
};

TEST_F(PageReceivingTest, RoundsFillTheStoreAndTheMapSaysWhatIsOwed) {
  for (uint64_t region = 0; region < 4; ++region)
    say(stream_of_region(region), pages_frame(kSpace, {{page(region * kRegionPages), 100}}));
  for (uint32_t stream = 0; stream < kStreams; ++stream) {
    say(stream, plain_frame(FrameType::kSync));
    EXPECT_EQ(must(sources_[stream]->receive_header()).type, FrameType::kSync);
  }
  say_frozen();
  say_map({{page(0), 120}}, {{page(50), 70}});
  EXPECT_EQ(must(receiving_->await_map(in_ms(20'000))), std::vector<SpaceId>{kSpace});
  EXPECT_EQ(pager_->figures().pages_owed_left, 70u);
  EXPECT_EQ(pager_->figures().pages_stored_left, 50u);
  say(stream_of_region(0), pages_frame(kSpace, {{page(50), 70}}));
  EXPECT_TRUE(pager_->await_all_here(in_ms(20'000)));
  EXPECT_EQ(failures_, 0);
}

TEST_F(PageReceivingTest, PagesMustComeOnTheStreamOfTheirRegion) {
  say(1 - stream_of_region(0), pages_frame(kSpace, {{page(0), 1}}));
  EXPECT_THAT(reason(), HasSubstr("on another stream than theirs"));
}

TEST_F(PageReceivingTest, ZerosMustComeOnTheStreamOfTheirRegionToo) {
  say(1 - stream_of_region(0), pages_frame(kSpace, {{page(0), 1}}, 0));
  EXPECT_THAT(reason(), HasSubstr("on another stream than theirs"));
}

TEST_F(PageReceivingTest, MoreThanTheContainerMayBringIsRefused) {
  for (uint64_t half = 0; half < 9; ++half)
    say(stream_of_region(half / 2), pages_frame(kSpace, {{page(half * 256), 256}}));
  EXPECT_THAT(reason(), HasSubstr("more memory than the container may bring"));
}

TEST_F(PageReceivingTest, OwedPagesBeforeTheMapAreRefused) {
  say(0, plain_frame(FrameType::kFrozen));
  say(0, pages_frame(kSpace, {{page(0), 1}}));
  EXPECT_THAT(reason(), HasSubstr("pages of a process that has none"));
}

TEST_F(PageReceivingTest, OwedPagesOfAnUnknownProcessAreRefused) {
  say_frozen();
  say_map({{page(0), 10}}, {{page(0), 10}});
  say(1, pages_frame(kSpace + 1, {{page(0), 1}}));
  EXPECT_THAT(reason(), HasSubstr("pages of a process that has none"));
}

TEST_F(PageReceivingTest, OwedPagesThatComeTwiceOrWereNeverOwedChangeNothing) {
  say_frozen();
  say_map({{page(0), 20}}, {{page(0), 10}});
  const uint32_t stream = stream_of_region(0);
  for (int i = 0; i < 3; ++i) say(stream, pages_frame(kSpace, {{page(0), 5}}));
  say(stream, pages_frame(kSpace, {{page(15), 100}, {page(3), 4}}));
  say(stream, pages_frame(kSpace, {{{0}, 1}, {{uint64_t{1} << 55}, 1}}));
  say(kStreams, pages_frame(kSpace, {{page(0), 9}}));
  say(stream, pages_frame(kSpace, {{page(9), 1}}, 0));
  EXPECT_TRUE(pager_->await_all_here(in_ms(20'000)));
  EXPECT_EQ(failures_, 0);
}

TEST_F(PageReceivingTest, AnswersWaitForTheMap) {
  say(kStreams, pages_frame(kSpace, {{page(0), 1}}));
  say_frozen();
  say_map({{page(0), 1}}, {{page(0), 1}});
  EXPECT_TRUE(pager_->await_all_here(in_ms(20'000)));
}

TEST_F(PageReceivingTest, RequestsReachTheSource) {
  say_frozen();
  say_map({{page(0), 10}}, {{page(0), 10}});
  must(receiving_->await_map(in_ms(20'000)));
  receiving_->request(kSpace, {page(3), 2});
  std::string payload;
  const wire::FrameHeader header = must(sources_[kStreams]->receive_frame(payload));
  EXPECT_EQ(header.type, FrameType::kPageRequest);
  EXPECT_EQ(header.index, kSpace);
  EXPECT_EQ(must(wire::decode_page_runs(payload, header.count))[0].range, (PageRange{page(3), 2}));
}

// What is said, on which stream, and why that is the end.
struct Breach {
  const char* name;
  std::vector<std::pair<uint32_t, Frame>> frames;
  const char* reason;
};

Frame map_of(const PageRanges& populated, SpaceId space = kSpace) {
  return plain_frame(FrameType::kMemoryMap, space, encode_memory_map(populated, {})[0]);
}

Frame lying(Frame frame, uint32_t count) {
  frame.header.count = count;
  return frame;
}

Frame packed(wire::Codec codec, const std::string& contents) {
  Frame frame = pages_frame(kSpace, {{page(0), 4}});
  frame.payload.resize(wire::kRunBytes);
  frame.payload += contents;
  frame.header.codec = codec;
  return frame;
}

class BreachTest : public PageReceivingTest, public testing::WithParamInterface<Breach> {};

TEST_P(BreachTest, EndsAllConnectionsAndIsTold) {
  for (const auto& [stream, frame] : GetParam().frames) say(stream, frame);
  EXPECT_THAT(reason(), HasSubstr(GetParam().reason));
  for (const auto& source : sources_) {  // cut off, all of them
    std::string payload;
    EXPECT_FALSE(source->receive_frame(payload));
  }
  await_failure_told();
  receiving_.reset();
  EXPECT_EQ(failures_, 1);
}

const Frame kFrozen = plain_frame(FrameType::kFrozen);
const uint32_t kRight = stream_of_region(0);

INSTANTIATE_TEST_SUITE_P(
    PageReceiving, BreachTest,
    testing::Values(
        Breach{"FrozenTwice", {{0, kFrozen}, {0, kFrozen}}, "twice"},
        Breach{"MapBeforeTheFreeze", {{0, map_of({{page(0), 1}})}}, "a memory map at the wrong time"},
        Breach{"MapsEndBeforeTheFreeze", {{0, plain_frame(FrameType::kMapsEnd, 0)}}, "end of the maps at the wrong"},
        Breach{"PagesEndBeforeTheFreeze", {{1, plain_frame(FrameType::kPagesEnd)}}, "end of the pages at the wrong"},
        Breach{"PagesEndBeforeTheMap", {{0, kFrozen}, {0, plain_frame(FrameType::kPagesEnd)}}, "end of the pages"},
        Breach{"MapOnAnotherStream",
               {{0, kFrozen}, {1, kFrozen}, {0, plain_frame(FrameType::kMapsEnd, 0)}, {1, map_of({{page(0), 1}})}},
               "a memory map at the wrong time"},
        Breach{"ASecondEndOfTheMaps",
               {{0, kFrozen},
                {1, kFrozen},
                {0, plain_frame(FrameType::kMapsEnd, 0)},
                {0, plain_frame(FrameType::kMapsEnd, 0)}},
               "end of the maps at the wrong"},
        Breach{"AMapAfterTheMaps",
               {{0, kFrozen}, {1, kFrozen}, {0, plain_frame(FrameType::kMapsEnd, 0)}, {0, map_of({{page(0), 1}})}},
               "a memory map at the wrong time"},
        Breach{"OtherMapsThanCounted", {{0, kFrozen}, {0, plain_frame(FrameType::kMapsEnd, 3)}}, "counts other maps"},
        Breach{"MapOutOfOrder",
               {{0, kFrozen}, {0, map_of({{page(kRegionPages), 1}})}, {0, map_of({{page(0), 1}})}},
               "out of order"},
        Breach{
            "AMapOfTooManyRegions", {{0, kFrozen}, {0, map_of({{page(0), 101 * kRegionPages}})}}, "too many regions"},
        Breach{"MapsOfTooManyRegionsTogether",
               {{0, kFrozen},
                {0, map_of({{page(0), 60 * kRegionPages}}, 1)},
                {0, map_of({{page(0), 30 * kRegionPages}}, 2)},
                {0, map_of({{page(60 * kRegionPages), 11 * kRegionPages}}, 1)}},
               "too many regions"},
        Breach{"ATruncatedMap",
               {{0, kFrozen}, {0, plain_frame(FrameType::kMemoryMap, kSpace, "short")}},
               "within an entry"},
        Breach{"AnImage", {{0, plain_frame(FrameType::kFileBegin, 0, "a.img")}}, "no place among pages"},
        Breach{"ARequest",
               {{1, lying(plain_frame(FrameType::kPageRequest, kSpace, std::string(16, '\0')), 1)}},
               "no place among pages"},
        Breach{"ARoundOnTheChannelOfAnswers", {{kStreams, plain_frame(FrameType::kSync)}}, "among answers"},
        Breach{"FewerPagesThanRuns", {{kRight, lying(pages_frame(kSpace, {{page(0), 2}}), 2)}}, "address"},
        Breach{"ARunThatLeavesItsRegion", {{kRight, pages_frame(kSpace, {{page(500), 13}})}}, "leaves its region"},
        Breach{"TooManyPages", {{kRight, pages_frame(kSpace, {{page(0), 257}})}}, ""},
        Breach{"MorePagesThanContents", {{kRight, packed(wire::Codec::kNone, "few")}}, "another length than its pages"},
        Breach{"GarbageThatCallsItselfLz4", {{kRight, packed(wire::Codec::kLz4, "garbage")}}, "do not unpack"},
        Breach{"GarbageThatCallsItselfZstd", {{kRight, packed(wire::Codec::kZstd, "garbage")}}, "do not unpack"},
        Breach{"PackedToMoreThanItIs",
               {{kRight, packed(wire::Codec::kLz4, std::string(4 * kPageBytes, 'x'))}},
               "another length than its pages"},
        Breach{"AFrameOfUnknownType", {{0, plain_frame(FrameType{99})}}, "unknown type"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(PageReceivingTest, ChannelsAreTakenOnceAndOthersNotAtAll) {
  for (uint16_t channel : {uint16_t{0}, uint16_t{1}, uint16_t{3}, uint16_t{4}, uint16_t{60}})
    EXPECT_FALSE(receiving_->accept(link_.connect(channel).target)) << channel;
}

TEST_F(PageReceivingTest, ALinkThatBreaksIsToldOnceWhicheverItIs) {
  sources_[1]->cancel();
  EXPECT_NE(reason(), "");
  for (const auto& source : sources_) source->cancel();
  await_failure_told();
  receiving_.reset();
  EXPECT_EQ(failures_, 1);
}

TEST_F(PageReceivingTest, SilenceDoesNotKeepItFromEnding) {
  say(0, plain_frame(FrameType::kFrozen));  // a stream that waits for another one
  receiving_->end();
  EXPECT_FALSE(receiving_->await_map(in_ms(20'000)));
  EXPECT_EQ(failures_, 0);
}

TEST_F(PageReceivingTest, AMapThatDoesNotComeIsAnError) { EXPECT_FALSE(receiving_->await_map(in_ms(10))); }

TEST_F(PageReceivingTest, ANewConnectionIsAskedForAllThatIsOwed) {
  EXPECT_FALSE(receiving_->resume(link_.connect(kStreams + 1).target));  // nothing has failed
  say_frozen();
  say_map({{page(0), 10}, {page(600), 3}}, {{page(0), 10}, {page(600), 3}});
  must(receiving_->await_map(in_ms(20'000)));
  say(stream_of_region(0), pages_frame(kSpace, {{page(0), 4}}));
  while (pager_->figures().pages_owed_left > 9) std::this_thread::yield();
  for (const auto& source : sources_) source->cancel();
  EXPECT_NE(reason(), "");

  EXPECT_FALSE(receiving_->resume(link_.connect(1).target));
  auto ends = link_.connect(kStreams + 1);
  ASSERT_TRUE(receiving_->resume(std::move(ends.target)));
  std::string payload;
  const wire::FrameHeader header = must(ends.source->receive_frame(payload));
  std::vector<PageRange> asked;
  for (const wire::PageRun& run : must(wire::decode_page_runs(payload, header.count))) asked.push_back(run.range);
  EXPECT_EQ(asked, (std::vector<PageRange>{{page(4), 6}, {page(600), 3}}));
  for (const PageRange& range : asked) send(*ends.source, pages_frame(kSpace, {range}));
  EXPECT_TRUE(pager_->await_all_here(in_ms(20'000)));
}

TEST_F(PageReceivingTest, WithoutMapsThereIsNothingToResume) {
  sources_[0]->cancel();
  EXPECT_NE(reason(), "");
  EXPECT_FALSE(receiving_->resume(link_.connect(kStreams + 1).target));
}

}  // namespace
}  // namespace godwit
