#include "network/host_port.h"

#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <optional>

#include "kernel/netns.h"
#include "kernel/rtnetlink.h"
#include "network/bridge_vlans.h"
#include "network/link_message.h"

namespace godwit::network {
namespace {

// The links of the container, and by what number its namespace knows the host's.
struct Inside {
  std::vector<LinkInfo> links;
  std::optional<int32_t> host_netns;
};

// Links are listed first: that is what makes the kernel number the namespaces of their other ends.
Result<Inside> look_inside(int host_netns_fd) {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  Inside inside;
  TRY_ASSIGN(inside.links, list_links(socket));
  NetlinkRequest request(RTM_GETNSID, 0, rtgenmsg{});
  request.add_u32(NETNSA_FD, static_cast<uint32_t>(host_netns_fd));
  TRY(socket.query(request, [&](const NetlinkMessage& message) {
    auto id = message.attributes<rtgenmsg>().u32(NETNSA_NSID);
    if (id && static_cast<int32_t>(*id) != NETNSA_NSID_NOT_ASSIGNED) inside.host_netns = static_cast<int32_t>(*id);
  }));
  return inside;
}

Result<LinkInfo> find_bridge_of(RouteSocket& host, const LinkInfo& port) {
  if (port.master == 0)
    return fail("its end on the host, " + port.name + ", is not a port of a bridge; attach it (ip link set " +
                port.name + " master BRIDGE)");
  TRY_ASSIGN(LinkInfo bridge, find_link(host, port.master));
  if (bridge.kind != "bridge")
    return fail("its end on the host, " + port.name + ", belongs to " + bridge.name + ", which is of the kind " +
                bridge.kind + "; only a Linux bridge is supported");
  return bridge;
}

Result<HostPort> find_port(RouteSocket& host, const LinkInfo& inner, std::optional<int32_t> host_netns) {
  if (!host_netns || inner.peer_netns != host_netns)
    return fail(
        "its other end is not in the network namespace of this host's agent; move it there, "
        "onto a bridge");
  TRY_ASSIGN(LinkInfo outer, find_link(host, inner.peer));
  TRY_ASSIGN(LinkInfo bridge, find_bridge_of(host, outer));
  HostPort port{.link = inner.name,
                .mac = {},
                .name = outer.name,
                .index = outer.index,
                .bridge = bridge.name,
                .bridge_index = bridge.index,
                .mtu = outer.mtu,
                .vlan_aware = bridge.vlan_aware};
  TRY_ASSIGN(port.mac, unicast_mac(inner.mac));
  return port;
}

Result<HostPort> find_parent(RouteSocket& host, const LinkInfo& inner, std::optional<int32_t> host_netns) {
  if (!host_netns || inner.peer_netns != host_netns)
    return fail("its parent is not in the network namespace of this host's agent");
  TRY_ASSIGN(LinkInfo parent, find_link(host, inner.peer));
  HostPort port{.link = inner.name,
                .mac = {},
                .name = parent.name,
                .index = parent.index,
                .bridge = "",
                .bridge_index = 0,
                .mtu = inner.mtu,
                .macvlan = true,
                .macvlan_mode = inner.macvlan_mode,
                .inner_index = inner.index};
  TRY_ASSIGN(port.mac, unicast_mac(inner.mac));
  return port;
}

}  // namespace

Result<std::vector<HostPort>> find_host_ports(int netns_fd) {
  TRY_ASSIGN(ScopedFd home, open_current_netns());
  TRY_ASSIGN(Inside inside, in_netns(netns_fd, [&] { return look_inside(home.get()); }));
  TRY_ASSIGN(RouteSocket host, RouteSocket::open());
  std::vector<HostPort> ports;
  for (const LinkInfo& link : inside.links) {
    if (link.kind != "veth" && link.kind != "macvlan") continue;
    auto port =
        link.kind == "veth" ? find_port(host, link, inside.host_netns) : find_parent(host, link, inside.host_netns);
    if (!port) return fail(std::move(port).error().during("the container's link " + link.name));
    ports.push_back(std::move(*port));
  }
  if (std::ranges::any_of(ports, &HostPort::vlan_aware)) {
    TRY_ASSIGN(auto vlans, read_port_vlans(host));
    for (HostPort& port : ports)
      if (port.vlan_aware) port.vlans = vlans[port.index];
  }
  return ports;
}

void note_bridges(const std::vector<HostPort>& ports, peer::NetworkState& state) {
  for (peer::Link& link : *state.mutable_links()) {
    auto port = std::find_if(ports.begin(), ports.end(), [&](const HostPort& p) { return p.link == link.name(); });
    if (port == ports.end()) continue;
    if (port->macvlan) {
      link.set_parent(port->name);
    } else {
      link.set_bridge(port->bridge);
      link.set_vlan_aware(port->vlan_aware);
      link.mutable_vlans()->Assign(port->vlans.begin(), port->vlans.end());
    }
  }
}

Result<uint32_t> find_bridge(const std::string& bridge) {
  TRY_ASSIGN(RouteSocket host, RouteSocket::open());
  auto link = find_link(host, bridge);
  if (!link) {
    if (link.error().code() != ENODEV) return fail(link.error());
    return fail("there is no bridge " + bridge + " on this host; make it, or name another in the configuration");
  }
  if (link->kind != "bridge") return fail(bridge + " is not a bridge");
  if (!link->up) return fail("bridge " + bridge + " is down; bring it up (ip link set " + bridge + " up)");
  return link->index;
}

}  // namespace godwit::network
