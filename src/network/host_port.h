// Where a container's links are attached on the host: the other ends of its veths, which are ports of bridges, and the
// parents of its macvlans.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/mac.h"
#include "peer.pb.h"

namespace godwit::network {

struct HostPort {
  std::string link;    // in the container: eth0
  MacAddress mac{};    // of that link: what frames for the container are addressed to
  std::string name;    // on the host
  uint32_t index = 0;  // on the host
  std::string bridge;  // the port's bridge
  uint32_t bridge_index = 0;
  uint32_t mtu = 0;

  bool vlan_aware = false;  // the bridge
  std::vector<peer::Vlan> vlans = {};

  // A macvlan: `name` and `index` are its parent's, and there is no bridge.
  bool macvlan = false;
  uint32_t macvlan_mode = 0;
  uint32_t inner_index = 0;  // of the link in the container
};

// One per veth and macvlan in the namespace. The host is the network namespace of the calling thread. An error
// says which link is not attached to a bridge there, and what to change.
Result<std::vector<HostPort>> find_host_ports(int netns_fd);

// Writes each port's bridge, or parent, into the link it belongs to.
void note_bridges(const std::vector<HostPort>& ports, peer::NetworkState& state);

// Index of the bridge BRIDGE in the calling thread's namespace; an error if it is missing, no
// bridge, or down.
Result<uint32_t> find_bridge(const std::string& bridge);

}  // namespace godwit::network
