// The tables of a namespace that change while its container runs: addresses, routes, rules, neighbours.
#pragma once

#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

// Of SOCKET's namespace, in the kernel's order (a primary address comes before its secondaries).
Result<std::vector<peer::Address>> read_addresses(RouteSocket& socket, const LinkNames& names);
Result<std::vector<peer::Route>> read_routes(RouteSocket& socket, const LinkNames& names);
Result<std::vector<peer::Rule>> read_rules(RouteSocket& socket, const LinkNames& names);
Result<std::vector<peer::Neighbour>> read_neighbours(RouteSocket& socket, const LinkNames& names);

// Makes the tables of SOCKET's namespace equal to STATE's, changing only what differs. STATE has
// passed check_network_state. Neighbours that the kernel refuses are left out: an entry is only a
// shortcut.
Result<> write_tables(RouteSocket& socket, const LinkNames& names, const peer::NetworkState& state);

}  // namespace godwit::network
