#include "migration/quiet_freeze.h"

#include <fmt/format.h>

#include <thread>

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kFreezesWithin = 10s;
// A handshake lasts as long as the way to the client and back; a program that accepts, microseconds. Whatever lasts
// longer than this waits for somebody who is not there.
constexpr auto kQuietWithin = 500ms;
constexpr auto kLookAgainAfter = 200us;

std::string note_of(const network::TcpMoment& moment) {
  return fmt::format(
      "left behind: TCP connections that were being established ({}), waited to be accepted ({}) or were being closed "
      "({})",
      moment.half_open, moment.unaccepted, moment.closing);
}

// What is left when it has become quiet, or does not.
network::TcpMoment await_quiet(network::TcpWatch& watch) {
  const Deadline deadline = Clock::now() + kQuietWithin;
  for (;;) {
    const auto moment = watch.look();
    if (!moment || moment->quiet()) return {};
    if (Clock::now() >= deadline) return *moment;
    std::this_thread::sleep_for(kLookAgainAfter);
  }
}

}  // namespace

Result<QuietFreeze> freeze_quietly(const CgroupFreezer& freezer, network::FrameHold& hold, network::TcpWatch* watch) {
  QuietFreeze frozen;
  if (watch != nullptr) {
    TRY(hold.hold_new_connections());
    if (const auto left = await_quiet(*watch); !left.quiet()) frozen.notes.push_back(note_of(left));
  }
  frozen.frozen_at = Clock::now();
  TRY(freezer.freeze(Clock::now() + kFreezesWithin));
  return frozen;
}

}  // namespace godwit
