#include "memory/soft_dirty_tracker.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62;

RemoteAddr page(uint64_t number) { return {number * kPageBytes}; }

FrameNotes notes_of_three() {
  FrameNotes notes;
  notes.add(page(10), {kPresent | 100});
  notes.add(page(11), {kPresent | 7});
  notes.add(page(20), {kSwapped | 7});
  return notes;
}

TEST(FrameNotes, APageInTheSameFrameIsKnown) {
  FrameNotes notes = notes_of_three();
  EXPECT_TRUE(notes.had(page(10), {kPresent | 100}));
  EXPECT_TRUE(notes.had(page(11), {kPresent | 7}));
  EXPECT_TRUE(notes.had(page(20), {kSwapped | 7}));
}

TEST(FrameNotes, APageInAnotherFrameIsNot) {
  FrameNotes notes = notes_of_three();
  EXPECT_FALSE(notes.had(page(10), {kPresent | 7}));
  EXPECT_FALSE(notes.had(page(11), {kPresent | 100}));
}

TEST(FrameNotes, AFrameIsNotAPlaceInSwap) {
  FrameNotes notes = notes_of_three();
  EXPECT_FALSE(notes.had(page(11), {kSwapped | 7}));
  EXPECT_FALSE(notes.had(page(20), {kPresent | 7}));
}

TEST(FrameNotes, WhatWasNotNotedIsNotKnown) {
  FrameNotes notes = notes_of_three();
  for (uint64_t number : {9, 12, 19, 21}) EXPECT_FALSE(notes.had(page(number), {kPresent | 7})) << number;
  EXPECT_FALSE(FrameNotes().had(page(10), {kPresent | 7}));
}

TEST(FrameNotes, KnowsWhichPagesThereAre) {
  EXPECT_EQ(notes_of_three().pages(), (PageRanges{{page(10), 2}, {page(20), 1}}));
  EXPECT_EQ(FrameNotes().pages(), PageRanges{});
}

TEST(FrameNotes, CanBeGoneThroughAgain) {
  FrameNotes notes = notes_of_three();
  EXPECT_TRUE(notes.had(page(20), {kSwapped | 7}));
  notes.rewind();
  EXPECT_TRUE(notes.had(page(10), {kPresent | 100}));
}

}  // namespace
}  // namespace godwit
