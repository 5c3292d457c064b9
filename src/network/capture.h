// What a container's network namespace holds, as the message that recreates it on another host.
#pragma once

#include "base/result.h"
#include "peer.pb.h"

namespace godwit::network {

// Everything: links, addresses, routes, neighbours, sysctls. About 10 ms, nearly all of it sysctls:
// for the time before the freeze. Link.bridge is left empty (see host_port.h). Supported are the
// loopback and veth; any other link is an error that names it. The calling thread enters the
// namespace meanwhile.
Result<peer::NetworkState> capture_namespace(int netns_fd);

// Replaces STATE's addresses, routes and neighbours by those of now, under 1 ms: for the freeze.
// STATE is what capture_namespace returned; a link that appeared since then is an error.
Result<> capture_volatile(int netns_fd, peer::NetworkState& state);

}  // namespace godwit::network
