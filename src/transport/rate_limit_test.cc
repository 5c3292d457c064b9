#include "transport/rate_limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace godwit {
namespace {

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

TEST(RateLimit, SeveralSendersTogetherStayBelowTheLimit) {
  RateLimit limit(100'000'000);
  const auto start = Clock::now();
  std::vector<std::jthread> senders;
  for (int i = 0; i < 4; ++i)
    senders.emplace_back([&] {
      for (int j = 0; j < 10; ++j) limit.take(1'000'000);
    });
  senders.clear();
  EXPECT_GE(seconds_since(start), 0.4 - 0.006);  // less a burst
}

TEST(RateLimit, WithoutOneNothingWaits) {
  RateLimit limit(0);
  const auto start = Clock::now();
  limit.take(uint64_t{1} << 50);
  EXPECT_LT(seconds_since(start), 10);
}

TEST(RateLimit, WhatWentAtOnceDelaysWhatFollows) {
  RateLimit limit(100'000'000);
  const auto start = Clock::now();
  limit.take_at_once(20'000'000);
  limit.take(1);
  EXPECT_GE(seconds_since(start), 0.2 - 0.006);
}

TEST(RateLimit, SeveralTogetherStayBelowTheLimitOfAll) {
  const auto all = std::make_shared<RateLimit>(100'000'000);
  RateLimit unlimited(0, all), high(90'000'000, all);
  const auto start = Clock::now();
  std::vector<std::jthread> senders;
  for (RateLimit* limit : {&unlimited, &high})
    senders.emplace_back([=] {
      for (int j = 0; j < 20; ++j) limit->take(1'000'000);
    });
  senders.clear();
  EXPECT_GE(seconds_since(start), 0.4 - 0.006);
}

TEST(RateLimit, TheLowerOfItsOwnAndThatOfAllHolds) {
  const auto all = std::make_shared<RateLimit>(1'000'000'000);
  RateLimit low(100'000'000, all);
  const auto start = Clock::now();
  low.take(20'000'000);
  low.again()->take(20'000'000);
  EXPECT_GE(seconds_since(start), 0.4 - 0.012);
}

TEST(RateLimit, ACancelOfOneIsNoneOfTheOthers) {
  const auto all = std::make_shared<RateLimit>(100'000'000);
  RateLimit one(0, all), other(0, all);
  one.cancel();
  const auto start = Clock::now();
  other.take(20'000'000);
  EXPECT_GE(seconds_since(start), 0.2 - 0.006);
}

TEST(RateLimit, ACancelEndsTheWait) {
  RateLimit limit(1);
  std::jthread sender([&] { limit.take(1'000'000); });
  limit.cancel();
  sender.join();
}

}  // namespace
}  // namespace godwit
