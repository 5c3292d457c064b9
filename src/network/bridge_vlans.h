// VLANs of the ports of VLAN-aware bridges.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "peer.pb.h"

namespace godwit::network {

inline constexpr int kVlanIdMax = 4094;

using Vlans = std::vector<peer::Vlan>;

// Of all ports in SOCKET's namespace, by index.
Result<std::map<uint32_t, Vlans>> read_port_vlans(RouteSocket& socket);

// Adds the requests that give a port which has just joined a VLAN-aware bridge exactly these.
void add_vlan_requests(uint32_t port, const Vlans& vlans, std::vector<NetlinkRequest>& requests);

}  // namespace godwit::network
