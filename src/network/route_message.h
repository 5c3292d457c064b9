// Routes: rtnetlink's messages to ours and back. Flags that only describe the moment (link down,
// offloaded) are left out, so that what was made from a captured route is captured equal.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

// Empty for cached routes and for those that follow from the addresses (the kernel's own in the
// local table). What the message has no field for is an error that names it.
Result<std::optional<peer::Route>> parse_route(const NetlinkMessage& message, const LinkNames& names);

// The request that adds (REMOVE false) or removes the entry, which has passed check_network_state.
Result<NetlinkRequest> route_request(bool remove, const peer::Route& route, const LinkNames& names);

// For error messages.
std::string describe(const peer::Route& route);

}  // namespace godwit::network
