#include "network/bridge_vlans.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace godwit::network {
namespace {

constexpr uint16_t kFlags = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
// What a bridge gives every new port unless told otherwise.
constexpr uint16_t kDefaultVlan = 1;

ifinfomsg port_header(uint32_t index) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = static_cast<int>(index);
  return header;
}

void add_vlan(NetlinkRequest& request, uint32_t id, uint32_t flags) {
  const bridge_vlan_info info{.flags = static_cast<uint16_t>(flags & kFlags), .vid = static_cast<uint16_t>(id)};
  request.add(IFLA_BRIDGE_VLAN_INFO, {reinterpret_cast<const char*>(&info), sizeof(info)});
}

}  // namespace

Result<std::map<uint32_t, Vlans>> read_port_vlans(RouteSocket& socket) {
  std::map<uint32_t, Vlans> ports;
  NetlinkRequest request(RTM_GETLINK, 0, port_header(0));
  request.add_u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
  auto each = [&](const NetlinkMessage& message) {
    Vlans& vlans = ports[static_cast<uint32_t>(message.header<ifinfomsg>().ifi_index)];
    const auto attributes = message.attributes<ifinfomsg>();
    const NetlinkAttributes specific = attributes.nested(IFLA_AF_SPEC);
    for (const auto& [number, value] : specific.all()) {
      bridge_vlan_info info;
      if (number != IFLA_BRIDGE_VLAN_INFO || value.size() != sizeof(info)) continue;
      std::memcpy(&info, value.data(), sizeof(info));
      peer::Vlan& vlan = vlans.emplace_back();
      vlan.set_id(info.vid);
      vlan.set_flags(info.flags & kFlags);
    }
  };
  TRY(socket.dump(request, each, [&] { ports.clear(); }));
  return ports;
}

void add_vlan_requests(uint32_t port, const Vlans& vlans, std::vector<NetlinkRequest>& requests) {
  if (std::ranges::none_of(vlans, [](const peer::Vlan& vlan) { return vlan.id() == kDefaultVlan; })) {
    NetlinkRequest remove(RTM_DELLINK, 0, port_header(port));
    remove.nest(IFLA_AF_SPEC, [](NetlinkRequest& nest) { add_vlan(nest, kDefaultVlan, 0); });
    requests.push_back(std::move(remove));
  }
  if (vlans.empty()) return;
  NetlinkRequest add(RTM_SETLINK, 0, port_header(port));
  add.nest(IFLA_AF_SPEC, [&](NetlinkRequest& nest) {
    for (const peer::Vlan& vlan : vlans) add_vlan(nest, vlan.id(), vlan.flags());
  });
  requests.push_back(std::move(add));
}

}  // namespace godwit::network
