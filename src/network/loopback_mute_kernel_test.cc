#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/capture.h"
#include "network/loopback_mute.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

using testing::HasSubstr;
using testing::Not;

class LoopbackMuted : public testing::Test {
 protected:
  LoopbackMuted() { run_in(own, "ip link set lo up; ip addr add 10.98.9.1/32 dev lo"); }
  std::string pings() { return run_in(own, "ping -c1 -W0.2 127.0.0.1 || :; ping -c1 -W0.2 10.98.9.1 || :"); }
  LoopbackMute prepared() {
    auto mute = LoopbackMute::prepare(own.get());
    EXPECT_TRUE(mute) << mute.error().text();
    return std::move(*mute);
  }
  ScopedFd own = new_netns();
};

TEST_F(LoopbackMuted, NothingArrivesUntilItEnds) {
  const std::string before = run_in(own, "tc qdisc show; ip route show table all");
  auto mute = prepared();
  EXPECT_THAT(pings(), Not(HasSubstr(" 0 received")));
  ASSERT_TRUE(mute.begin());
  EXPECT_THAT(pings(), Not(HasSubstr(" 1 received")));
  ASSERT_TRUE(mute.end());
  EXPECT_THAT(pings(), Not(HasSubstr(" 0 received")));
  EXPECT_EQ(run_in(own, "tc qdisc show; ip route show table all"), before);
}

TEST_F(LoopbackMuted, ItsEndEndsIt) {
  {
    auto mute = prepared();
    ASSERT_TRUE(mute.begin());
    auto moved = std::move(mute);
  }
  EXPECT_THAT(pings(), Not(HasSubstr(" 0 received")));
}

TEST_F(LoopbackMuted, WhatAKilledAgentLeftIsEnded) {
  ASSERT_TRUE(LoopbackMute::end_left(own.get()));
  auto mute = prepared();
  ASSERT_TRUE(mute.begin());
  ASSERT_TRUE(LoopbackMute::end_left(own.get()));
  EXPECT_THAT(pings(), Not(HasSubstr(" 0 received")));
  EXPECT_FALSE(mute.end());
  ASSERT_TRUE(mute.begin());
  ASSERT_TRUE(mute.end());
}

TEST_F(LoopbackMuted, ADisciplineOfTheContainersStays) {
  run_in(own, "tc qdisc add dev lo root handle 7: pfifo limit 77");
  auto mute = prepared();
  EXPECT_FALSE(mute.begin());
  ASSERT_TRUE(mute.end());
  ASSERT_TRUE(LoopbackMute::end_left(own.get()));
  EXPECT_THAT(run_in(own, "tc qdisc show dev lo"), HasSubstr("pfifo 7: root refcnt 2 limit 77p"));
}

TEST_F(LoopbackMuted, ItIsNoPartOfTheNamespacesState) {
  auto state = capture_namespace(own.get());
  ASSERT_TRUE(state) << state.error().text();
  auto mute = prepared();
  ASSERT_TRUE(mute.begin());
  auto now = capture_volatile(own.get(), *state);
  ASSERT_TRUE(now) << now.error().text();
  EXPECT_EQ(state->qdiscs_size(), 0);
}

}  // namespace
}  // namespace godwit::network
