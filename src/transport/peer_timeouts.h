// How long a host waits for another one, where that is not a step of a migration (Host::step_timeout). [limits] of
// godwit.toml; the defaults are there.
#pragma once

#include "base/clock.h"

namespace godwit {

struct PeerTimeouts {
  milliseconds connect{10'000};   // to its agent: one that is up takes milliseconds, one that is down may say nothing
  milliseconds answer{5'000};     // to a question of what became of a migration, or the news of its end
  milliseconds handshake{5'000};  // of who connects here: two round trips and a few ms of arithmetic
  // One that acknowledges nothing for so long counts as dead. Longer than the retransmissions of a link that loses
  // packets or reroutes (200 ms doubling: five tries in 6 s), short enough that a migration is rolled back before its
  // user gives up.
  milliseconds dead_after{10'000};
};

// The kernel counts probes in whole seconds, and needs three.
inline constexpr milliseconds kDeadAfterMin{4'000};

}  // namespace godwit
