// Links as rtnetlink reports them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"

namespace godwit::network {

struct LinkInfo {
  uint32_t index = 0;
  std::string name;
  std::string kind;  // veth, bridge, …; empty for devices of the machine and the loopback
  std::string mac;   // as many bytes as the kind of link has
  uint32_t mtu = 0;
  uint32_t txqlen = 0;
  bool up = false;
  bool loopback = false;
  bool ready = false;   // up, and its carrier known to be there: what IPv6 and bridges wait for
  uint32_t master = 0;  // index of the bridge it is a port of; 0 if none
  uint32_t peer = 0;    // veth: index of the other end; macvlan: of the parent
  std::optional<int32_t>
      peer_netns;  // of the other end, or of the macvlan's parent: id of its namespace; empty if the same
  uint32_t macvlan_mode = 0;
  bool vlan_aware = false;  // a bridge that filters VLANs
};

// Of the socket's namespace.
Result<std::vector<LinkInfo>> list_links(RouteSocket& socket);
Result<LinkInfo> find_link(RouteSocket& socket, uint32_t index);
Result<LinkInfo> find_link(RouteSocket& socket, const std::string& name);

// Index and name only of every link.
Result<LinkNames> list_link_names(RouteSocket& socket);

// Requests that change the link INDEX.
NetlinkRequest set_up_request(uint32_t index);
NetlinkRequest set_master_request(uint32_t index, uint32_t master);  // 0: none
// The kernel gives the link no link-local IPv6 address when it comes up.
NetlinkRequest no_generated_addresses_request(uint32_t index);
NetlinkRequest delete_link_request(const std::string& name);
NetlinkRequest delete_link_request(uint32_t index);

}  // namespace godwit::network
