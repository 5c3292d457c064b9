// What of a namespace's network is in no table of volatile_tables.h: queueing disciplines, nftables, conntrack.
#pragma once

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

// Of the calling thread's namespace, which is also SOCKET's. An error names what cannot be carried.
Result<> read_namespace_state(RouteSocket& socket, const LinkNames& names, peer::NetworkState& state);

// Makes it so. STATE has passed check_network_state. What could not be made and harms nobody is added to NOTES.
Result<> write_namespace_state(RouteSocket& socket, const LinkNames& names, const peer::NetworkState& state,
                               std::vector<std::string>& notes);

}  // namespace godwit::network
