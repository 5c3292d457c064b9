// Addresses: rtnetlink's messages to ours and back. Flags that only describe the moment (tentative,
// secondary) are left out, so that what was made from a captured address is captured equal.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

// Empty for a message about anything else.
Result<std::optional<peer::Address>> parse_address(const NetlinkMessage& message, const LinkNames& names);

// The request that adds (REMOVE false) or removes the entry, which has passed check_network_state.
Result<NetlinkRequest> address_request(bool remove, const peer::Address& address, const LinkNames& names);

// For error messages.
std::string describe(const peer::Address& address);

}  // namespace godwit::network
