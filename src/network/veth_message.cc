#include "network/veth_message.h"

#include <linux/if_link.h>
#include <linux/veth.h>

#include "network/mac.h"

namespace godwit::network {

NetlinkRequest veth_request(const peer::Link& link, uint32_t index, const std::string& host_name, int host_netns_fd) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  request.add_string(IFLA_IFNAME, link.name());
  request.add(IFLA_ADDRESS, link.mac());
  request.add_u32(IFLA_MTU, link.mtu());
  request.add_u32(IFLA_TXQLEN, link.txqlen());
  request.nest(IFLA_LINKINFO, [&](NetlinkRequest& info) {
    info.add_string(IFLA_INFO_KIND, "veth");
    info.nest(IFLA_INFO_DATA, [&](NetlinkRequest& data) {
      data.nest(VETH_INFO_PEER, [&](NetlinkRequest& peer) {
        ifinfomsg any{};
        peer.append({reinterpret_cast<const char*>(&any), sizeof(any)});
        peer.add_string(IFLA_IFNAME, host_name);
        peer.add(IFLA_ADDRESS, as_bytes(high_mac()));
        peer.add_u32(IFLA_MTU, link.mtu());
        peer.add_u32(IFLA_TXQLEN, link.txqlen());
        peer.add_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(host_netns_fd));
      });
    });
  });
  return request;
}

}  // namespace godwit::network
