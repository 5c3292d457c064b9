// What a container's network namespace holds, as the message that recreates it on another host.
#pragma once

#include "base/result.h"
#include "peer.pb.h"

namespace godwit::network {

// Everything: links, addresses, routes, rules, neighbours, sysctls, queueing disciplines, nftables, conntrack. About 10
// ms, nearly all of it sysctls: for the time before the freeze. Link.bridge is left empty (see host_port.h). Supported
// are the loopback, veth and macvlan; any other link is an error that names it. The calling thread enters the namespace
// meanwhile.
Result<peer::NetworkState> capture_namespace(int netns_fd);

// Replaces all of STATE but links and sysctls by what is there now: for the freeze. Under 1 ms; 15 ms more if there are
// nftables rules, and 1 ms for some thousand conntrack entries.
// STATE is what capture_namespace returned; a link that appeared since then is an error.
Result<> capture_volatile(int netns_fd, peer::NetworkState& state);

}  // namespace godwit::network
