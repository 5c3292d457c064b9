// What is known of memory that a process moves about while another of its threads does so as well.
//
// The kernel tells of a mremap or munmap when it has happened and other threads go on already, so events of two threads
// may come in another order than what they tell of:
//
//   - mremap is told as two events: that memory has moved, and, once that has been read, that nothing is left where it
//     was. Between the two another thread can have moved something there.
//   - a thread can be interrupted between what it does and the telling. Then something moves to a place that, as far as
//     was told, is not free: what is there, as known, has left, and the event is still to come.
//
// Left: a thread interrupted there for longer than it takes others to move to its place, and the place had nothing
// missing; and a fork by another thread meanwhile, whose child has the memory where it is and not where it was said to
// be.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/page.h"
#include "memory/slot_arena.h"

namespace godwit {

class MoveLedger {
 public:
  using Slots = std::vector<std::pair<RemoteAddr, Slot>>;

  // Told: FROM has moved to TO.
  void moved(const PageRange& from, RemoteAddr to);
  // Told: nothing is at PAGES. True if that is the second half of a move.
  bool ends_move(const PageRange& pages);
  // Whether what is known to be at PAGE came after what is being told of TOLD, which contains it.
  bool came_later(RemoteAddr page, const PageRange& told) const;

  // SLOT was known to be at PAGE when something moved there.
  void displace(RemoteAddr page, Slot slot);
  // What was displaced at PAGES: this is what is told of now.
  Slots take_displaced(const PageRange& pages);
  // What was displaced, and nothing has been told of it for long: the process has lost it some other way.
  Slots take_forgotten(Clock::time_point now);

 private:
  struct Departure {
    PageRange from;
    PageRange to;
    std::vector<PageRange> arrived_since;  // anywhere
    Clock::time_point told;
  };
  struct Displaced {
    RemoteAddr page;
    Slot slot;
    Clock::time_point since;
  };
  bool is_displaced(RemoteAddr page) const;

  std::deque<Departure> departures_;  // whose second half has not been told
  std::deque<Displaced> displaced_;
};

}  // namespace godwit
