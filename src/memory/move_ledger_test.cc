#include "memory/move_ledger.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

constexpr PageRange at(uint64_t page, uint64_t pages = 1) { return {RemoteAddr{page * kPageBytes}, pages}; }

TEST(MoveLedger, UnmapAfterAMoveIsItsSecondHalf) {
  MoveLedger ledger;
  EXPECT_FALSE(ledger.ends_move(at(10, 4)));
  ledger.moved(at(10, 4), at(50).start);
  EXPECT_TRUE(ledger.ends_move(at(10, 4)));
  EXPECT_FALSE(ledger.ends_move(at(10, 4)));
}

TEST(MoveLedger, WhatArrivesBetweenTheHalvesOfAnothersMoveStays) {
  MoveLedger ledger;
  ledger.moved(at(10, 4), at(50).start);
  ledger.moved(at(90, 2), at(10).start);  // to where it was
  EXPECT_TRUE(ledger.ends_move(at(90, 2)));
  EXPECT_TRUE(ledger.ends_move(at(10, 4)));
}

TEST(MoveLedger, EndOfAMappingThatShrankOnItsWayLeavesWhatHasArrivedThereSince) {
  MoveLedger ledger;
  ledger.moved(at(10, 4), at(50).start);  // it had two more pages
  ledger.moved(at(90, 1), at(15).start);
  ASSERT_TRUE(ledger.ends_move(at(90, 1)));
  EXPECT_FALSE(ledger.ends_move(at(14, 2)));
  EXPECT_FALSE(ledger.came_later(at(14).start, at(14, 2)));
  EXPECT_TRUE(ledger.came_later(at(15).start, at(14, 2)));
}

TEST(MoveLedger, WhileAMoveIsNotOverOthersEventsAreNotAboutWhatItMoved) {
  MoveLedger ledger;
  ledger.moved(at(10, 2), at(50).start);
  EXPECT_TRUE(ledger.came_later(at(51).start, at(50, 8)));
  EXPECT_FALSE(ledger.came_later(at(52).start, at(50, 8)));
  ASSERT_TRUE(ledger.ends_move(at(10, 2)));
  EXPECT_FALSE(ledger.came_later(at(51).start, at(50, 8)));
}

TEST(MoveLedger, WhatWasDisplacedIsWhatTheLateEventTellsOf) {
  MoveLedger ledger;
  ledger.displace(at(7).start, 70);
  ledger.displace(at(20).start, 200);
  EXPECT_TRUE(ledger.came_later(at(7).start, at(6, 3)));
  const MoveLedger::Slots taken = ledger.take_displaced(at(6, 3));
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0], (std::pair{at(7).start, Slot{70}}));
  EXPECT_FALSE(ledger.came_later(at(7).start, at(6, 3)));
}

TEST(MoveLedger, WhatNothingIsToldOfIsForgottenInTime) {
  MoveLedger ledger;
  ledger.displace(at(7).start, 70);
  EXPECT_TRUE(ledger.take_forgotten(Clock::now()).empty());
  EXPECT_EQ(ledger.take_forgotten(Clock::now() + std::chrono::seconds(2)).size(), 1u);
  EXPECT_TRUE(ledger.take_displaced(at(0, 100)).empty());
}

TEST(MoveLedger, ManyMovesWithoutASecondHalfAreBounded) {
  MoveLedger ledger;
  for (uint64_t i = 0; i < 100'000; ++i) ledger.moved(at(i), at(1'000'000 + i).start);
  EXPECT_FALSE(ledger.ends_move(at(0)));
  EXPECT_TRUE(ledger.ends_move(at(99'999)));
}

}  // namespace
}  // namespace godwit
