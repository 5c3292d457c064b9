#include "memory/move_ledger.h"

#include <algorithm>

namespace godwit {

using namespace std::chrono_literals;

namespace {

// A thread that has been told goes on in microseconds, on a crowded host in a few time slices. A move that keeps its
// old mapping (MREMAP_DONTUNMAP) has no second half.
constexpr auto kToldWithin = 1s;
// More threads than these in mremap at once, or moves during one of them, are not kept apart.
constexpr size_t kDeparturesMax = 64;
constexpr size_t kArrivalsMax = 1024;

}  // namespace

void MoveLedger::moved(const PageRange& from, RemoteAddr to) {
  const auto now = Clock::now();
  while (!departures_.empty() && (departures_.size() >= kDeparturesMax || departures_.front().told + kToldWithin < now))
    departures_.pop_front();
  const PageRange arrived{to, from.pages};
  for (Departure& departure : departures_)
    if (departure.arrived_since.size() < kArrivalsMax) departure.arrived_since.push_back(arrived);
  departures_.push_back({from, arrived, {}, now});
}

bool MoveLedger::ends_move(const PageRange& pages) {
  const auto ended = std::ranges::find(departures_, pages, &Departure::from);
  if (ended == departures_.end()) return false;
  departures_.erase(ended);
  return true;
}

bool MoveLedger::came_later(RemoteAddr page, const PageRange& told) const {
  if (is_displaced(page)) return true;
  const auto now = Clock::now();
  return std::ranges::any_of(departures_, [&](const Departure& departure) {
    if (departure.told + kToldWithin < now) return false;
    if (departure.to.contains(page)) return true;
    // A mapping that shrank on its way: TOLD is what was cut off, and is told in between.
    return departure.from.end() == told.start &&
           std::ranges::any_of(departure.arrived_since,
                               [page](const PageRange& range) { return range.contains(page); });
  });
}

bool MoveLedger::is_displaced(RemoteAddr page) const {
  return std::ranges::find(displaced_, page, &Displaced::page) != displaced_.end();
}

void MoveLedger::displace(RemoteAddr page, Slot slot) { displaced_.push_back({page, slot, Clock::now()}); }

MoveLedger::Slots MoveLedger::take_displaced(const PageRange& pages) {
  Slots slots;
  std::erase_if(displaced_, [&](const Displaced& entry) {
    if (!pages.contains(entry.page)) return false;
    slots.emplace_back(entry.page, entry.slot);
    return true;
  });
  return slots;
}

MoveLedger::Slots MoveLedger::take_forgotten(Clock::time_point now) {
  Slots slots;
  for (; !displaced_.empty() && displaced_.front().since + kToldWithin < now; displaced_.pop_front())
    slots.emplace_back(displaced_.front().page, displaced_.front().slot);
  return slots;
}

}  // namespace godwit
