// The request for a container's link and its other end on the host.
#pragma once

#include <cstdint>
#include <string>

#include "kernel/rtnetlink.h"
#include "peer.pb.h"

namespace godwit::network {

// Sent in the container's namespace, because only the first of the two ends may ask for an index
// (INDEX, 0: any). The other end is HOST_NAME, in the namespace HOST_NETNS_FD.
NetlinkRequest veth_request(const peer::Link& link, uint32_t index, const std::string& host_name, int host_netns_fd);

}  // namespace godwit::network
