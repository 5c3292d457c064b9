#include "migration/quiet_freeze.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kFreezesWithin = 10s;
// A handshake lasts as long as the way to the client and back; a program that accepts, microseconds. Whatever lasts
// longer than this waits for somebody who is not there.
constexpr auto kQuietWithin = 500ms;
// But a busy program may accept one after the other. Who comes meanwhile waits as well, in the hold.
constexpr auto kAcceptedWithin = 5s;
// A tenth of the time so far, between these: a look takes 0.3 ms.
constexpr std::chrono::microseconds kLookAgainAfterMin{200}, kLookAgainAfterMax{10'000};

std::string note_of(const network::TcpMoment& moment) {
  return fmt::format("left behind: TCP connections that were being established ({}) or were being closed ({})",
                     moment.half_open, moment.closing);
}

// What is left when it has become quiet, or does not.
network::TcpMoment await_quiet(network::TcpWatch& watch) {
  const auto began = Clock::now();
  Deadline deadline = began + kQuietWithin;
  for (uint64_t unaccepted = UINT64_MAX;;) {
    const auto moment = watch.look();
    if (!moment || moment->quiet()) return {};
    const auto now = Clock::now();
    if (std::exchange(unaccepted, moment->unaccepted) > moment->unaccepted)
      deadline = std::min(now + kQuietWithin, began + kAcceptedWithin);
    if (now >= deadline) return *moment;
    std::this_thread::sleep_for(
        std::clamp<Clock::duration>((now - began) / 10, kLookAgainAfterMin, kLookAgainAfterMax));
  }
}

}  // namespace

Result<QuietFreeze> freeze_quietly(const CgroupFreezer& freezer, network::FrameHold& hold, network::TcpWatch* watch) {
  QuietFreeze frozen;
  if (watch != nullptr) {
    TRY(hold.hold_new_connections());
    const auto left = await_quiet(*watch);
    if (left.unaccepted > 0)  // CRIU would refuse
      return fail(fmt::format("{} connections wait to be accepted by the program; try again", left.unaccepted));
    if (!left.quiet()) frozen.notes.push_back(note_of(left));
  }
  frozen.frozen_at = Clock::now();
  TRY(freezer.freeze(Clock::now() + kFreezesWithin));
  return frozen;
}

}  // namespace godwit
