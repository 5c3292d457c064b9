// Neighbour entries (ARP, neighbour discovery): rtnetlink's messages to ours and back. The state is
// one of permanent, reachable and stale: a probe under way is not carried on.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

// Empty if the entry tells no MAC address, or is the kernel's own (multicast).
Result<std::optional<peer::Neighbour>> parse_neighbour(const NetlinkMessage& message, const LinkNames& names);

// The request that adds (REMOVE false) or removes the entry, which has passed check_network_state.
Result<NetlinkRequest> neighbour_request(bool remove, const peer::Neighbour& neighbour, const LinkNames& names);

// For error messages.
std::string describe(const peer::Neighbour& neighbour);

}  // namespace godwit::network
