#include "network/frame_queue.h"

#include <gtest/gtest.h>

namespace godwit::network {
namespace {

TEST(FrameQueue, FramesComeOutInOrderAndOnce) {
  FrameQueue queue({});
  for (const char* frame : {"a", "b", "c"}) queue.push(frame);
  EXPECT_EQ(queue.take(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(queue.take().empty());
  queue.push("d");
  EXPECT_EQ(queue.take(), (std::vector<std::string>{"d"}));
}

TEST(FrameQueue, AMessageTakesTheOldestThatFit) {
  FrameQueue queue({});
  for (const char* frame : {"aaaa", "bbbb", "cc"}) queue.push(frame);
  EXPECT_EQ(queue.take(3), (std::vector<std::string>{"aaaa"}));
  EXPECT_EQ(queue.bytes(), 6U);
  EXPECT_EQ(queue.take(6), (std::vector<std::string>{"bbbb", "cc"}));
  EXPECT_EQ(queue.bytes(), 0U);
  EXPECT_TRUE(queue.take(6).empty());
}

TEST(FrameQueue, PastABoundTheOldestAreDroppedAndCounted) {
  FrameQueue by_count({.frames_max = 2, .bytes_max = 1000});
  for (const char* frame : {"a", "b", "c"}) by_count.push(frame);
  EXPECT_EQ(by_count.take(), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(by_count.count().frames_dropped, 1U);
  EXPECT_EQ(by_count.count().frames_held, 3U);

  FrameQueue by_bytes({.frames_max = 100, .bytes_max = 10});
  for (const char* frame : {"aaaa", "bbbb", "cccc"}) by_bytes.push(frame);
  EXPECT_EQ(by_bytes.take(), (std::vector<std::string>{"bbbb", "cccc"}));
  EXPECT_EQ(by_bytes.count().bytes_held, 12U);
}

TEST(FrameQueue, AFrameLargerThanTheBoundIsNotKept) {
  FrameQueue queue({.frames_max = 100, .bytes_max = 3});
  queue.push("aaaa");
  EXPECT_TRUE(queue.take().empty());
  EXPECT_EQ(queue.count().frames_dropped, 1U);
}

}  // namespace
}  // namespace godwit::network
