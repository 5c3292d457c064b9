#include "network/link_message.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <sys/socket.h>

namespace godwit::network {
namespace {

LinkInfo parse_link(const NetlinkMessage& message) {
  auto header = message.header<ifinfomsg>();
  auto attributes = message.attributes<ifinfomsg>();
  LinkInfo link{.index = static_cast<uint32_t>(header.ifi_index),
                .name = attributes.string(IFLA_IFNAME),
                .kind = attributes.nested(IFLA_LINKINFO).string(IFLA_INFO_KIND),
                .mac = std::string(attributes.bytes(IFLA_ADDRESS)),
                .mtu = attributes.u32(IFLA_MTU).value_or(0),
                .txqlen = attributes.u32(IFLA_TXQLEN).value_or(0),
                .up = (header.ifi_flags & IFF_UP) != 0,
                .loopback = (header.ifi_flags & IFF_LOOPBACK) != 0,
                .ready = attributes.u8(IFLA_OPERSTATE) == IF_OPER_UP,
                .master = attributes.u32(IFLA_MASTER).value_or(0),
                .peer = attributes.u32(IFLA_LINK).value_or(0),
                .peer_netns = {},
                .macvlan_mode = 0,
                .vlan_aware = false};
  const NetlinkAttributes info = attributes.nested(IFLA_LINKINFO);
  if (link.kind == "macvlan") link.macvlan_mode = info.nested(IFLA_INFO_DATA).u32(IFLA_MACVLAN_MODE).value_or(0);
  if (link.kind == "bridge") link.vlan_aware = info.nested(IFLA_INFO_DATA).u8(IFLA_BR_VLAN_FILTERING).value_or(0) != 0;
  if (auto id = attributes.u32(IFLA_LINK_NETNSID)) link.peer_netns = static_cast<int32_t>(*id);
  return link;
}

Result<LinkInfo> query_link(RouteSocket& socket, const NetlinkRequest& request) {
  LinkInfo link;
  TRY(socket.query(request, [&](const NetlinkMessage& message) { link = parse_link(message); }));
  return link;
}

ifinfomsg with_index(uint32_t index) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  return header;
}

}  // namespace

Result<std::vector<LinkInfo>> list_links(RouteSocket& socket) {
  std::vector<LinkInfo> links;
  TRY_DOING("listing links", socket.dump(
                                 NetlinkRequest(RTM_GETLINK, 0, ifinfomsg{}),
                                 [&](const NetlinkMessage& message) {
                                   if (message.type == RTM_NEWLINK) links.push_back(parse_link(message));
                                 },
                                 [&] { links.clear(); }));
  return links;
}

Result<LinkInfo> find_link(RouteSocket& socket, uint32_t index) {
  return query_link(socket, NetlinkRequest(RTM_GETLINK, 0, with_index(index)));
}

Result<LinkInfo> find_link(RouteSocket& socket, const std::string& name) {
  NetlinkRequest request(RTM_GETLINK, 0, ifinfomsg{});
  request.add_string(IFLA_IFNAME, name);
  return query_link(socket, request);
}

Result<LinkNames> list_link_names(RouteSocket& socket) {
  TRY_ASSIGN(auto links, list_links(socket));
  LinkNames names;
  for (const LinkInfo& link : links) names.add(link.index, link.name);
  return names;
}

NetlinkRequest set_up_request(uint32_t index) {
  ifinfomsg header = with_index(index);
  header.ifi_flags = header.ifi_change = IFF_UP;
  return {RTM_NEWLINK, 0, header};
}

NetlinkRequest set_master_request(uint32_t index, uint32_t master) {
  NetlinkRequest request(RTM_NEWLINK, 0, with_index(index));
  request.add_u32(IFLA_MASTER, master);
  return request;
}

NetlinkRequest no_generated_addresses_request(uint32_t index) {
  NetlinkRequest request(RTM_NEWLINK, 0, with_index(index));
  request.nest(IFLA_AF_SPEC, [](NetlinkRequest& families) {
    families.nest(AF_INET6,
                  [](NetlinkRequest& ipv6) { ipv6.add_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE); });
  });
  return request;
}

NetlinkRequest delete_link_request(const std::string& name) {
  NetlinkRequest request(RTM_DELLINK, 0, ifinfomsg{});
  request.add_string(IFLA_IFNAME, name);
  return request;
}

NetlinkRequest delete_link_request(uint32_t index) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  return {RTM_DELLINK, 0, header};
}

}  // namespace godwit::network
