#include "network/macvlan_message.h"

#include <linux/if_link.h>

#include <functional>

namespace godwit::network {
namespace {

ifinfomsg with_index(uint32_t index) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  return header;
}

void add_settings(NetlinkRequest& request, const std::function<void(NetlinkRequest&)>& write) {
  request.nest(IFLA_LINKINFO, [&](NetlinkRequest& info) {
    info.add_string(IFLA_INFO_KIND, "macvlan");
    info.nest(IFLA_INFO_DATA, write);
  });
}

void add_mode(NetlinkRequest& request, uint32_t mode) {
  add_settings(request, [&](NetlinkRequest& data) { data.add_u32(IFLA_MACVLAN_MODE, mode); });
}

NetlinkRequest mode_request(uint32_t index, uint32_t mode) {
  NetlinkRequest request(RTM_NEWLINK, 0, with_index(index));
  add_mode(request, mode);
  return request;
}

}  // namespace

bool is_carried_macvlan_mode(uint32_t mode) {
  return mode == MACVLAN_MODE_PRIVATE || mode == MACVLAN_MODE_VEPA || mode == MACVLAN_MODE_BRIDGE;
}

NetlinkRequest macvlan_request(const peer::Link& link, uint32_t index, uint32_t parent, int netns_fd,
                               const MacAddress& mac) {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, with_index(index));
  request.add_string(IFLA_IFNAME, link.name());
  request.add(IFLA_ADDRESS, as_bytes(mac));
  request.add_u32(IFLA_LINK, parent);
  request.add_u32(IFLA_MTU, link.mtu());
  request.add_u32(IFLA_TXQLEN, link.txqlen());
  request.add_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(netns_fd));
  add_mode(request, MACVLAN_MODE_SOURCE);
  return request;
}

NetlinkRequest off_lan_request(uint32_t index) { return mode_request(index, MACVLAN_MODE_SOURCE); }

NetlinkRequest admit_source_request(uint32_t index, const MacAddress& mac) {
  NetlinkRequest request(RTM_NEWLINK, 0, with_index(index));
  add_settings(request, [&](NetlinkRequest& data) {
    data.add_u32(IFLA_MACVLAN_MACADDR_MODE, MACVLAN_MACADDR_ADD);
    data.add(IFLA_MACVLAN_MACADDR, as_bytes(mac));
  });
  return request;
}

NetlinkRequest on_lan_request(uint32_t index, uint32_t mode) { return mode_request(index, mode); }

// The kernel takes the mode first.
NetlinkRequest on_lan_request(uint32_t index, uint32_t mode, const MacAddress& mac) {
  NetlinkRequest request = mode_request(index, mode);
  request.add(IFLA_ADDRESS, as_bytes(mac));
  return request;
}

}  // namespace godwit::network
