#include "network/hold_tap.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <sys/socket.h>

#include <algorithm>

#include "network/bridge_vlans.h"
#include "network/link_message.h"

namespace godwit::network {
namespace {

// Frames a tap keeps until they are read: what arrives while the reader is not scheduled.
constexpr uint32_t kTapQueueFrames = 8192;
constexpr uint32_t kTapMtuMax = 65521;

ifinfomsg link_header(uint32_t index, uint8_t family) {
  ifinfomsg header{};
  header.ifi_family = family;
  header.ifi_index = static_cast<int>(index);
  return header;
}

NetlinkRequest tap_settings_request(uint32_t index, uint32_t mtu) {
  NetlinkRequest request(RTM_NEWLINK, 0, link_header(index, AF_UNSPEC));
  request.add(IFLA_ADDRESS, as_bytes(high_mac()));
  // A port with a smaller MTU would lower the bridge's.
  request.add_u32(IFLA_MTU, std::min(mtu, kTapMtuMax));
  request.add_u32(IFLA_TXQLEN, kTapQueueFrames);
  return request;
}

// What the tap gets besides the frames an fdb entry sends there: with FLOODED, broadcasts and
// multicasts.
NetlinkRequest port_flags_request(uint32_t index, bool flooded) {
  NetlinkRequest request(RTM_SETLINK, 0, link_header(index, AF_BRIDGE));
  request.nest(IFLA_PROTINFO, [&](NetlinkRequest& port) {
    port.add_u8(IFLA_BRPORT_LEARNING, 0);
    port.add_u8(IFLA_BRPORT_UNICAST_FLOOD, 0);
    port.add_u8(IFLA_BRPORT_MCAST_FLOOD, flooded);
    port.add_u8(IFLA_BRPORT_BCAST_FLOOD, flooded);
  });
  return request;
}

// Replacing moves an entry from one port to the other atomically. But one that is there gets its port first and becomes
// sticky a moment later: in between the bridge may learn from a frame of the container's that it is where it was. What
// is sticky keeps its port, so the second time it is the tap's.
NetlinkRequest fdb_request(bool remove, uint32_t index, const MacAddress& mac, uint32_t vlan = 0) {
  ndmsg header{};
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = static_cast<int>(index);
  header.ndm_state = NUD_NOARP;
  header.ndm_flags = NTF_MASTER | NTF_STICKY;
  NetlinkRequest request(remove ? RTM_DELNEIGH : RTM_NEWNEIGH, remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE, header);
  request.add(NDA_LLADDR, as_bytes(mac));
  const auto id = static_cast<uint16_t>(vlan);
  if (vlan) request.add(NDA_VLAN, {reinterpret_cast<const char*>(&id), sizeof(id)});
  return request;
}

}  // namespace

Result<HoldTap> HoldTap::make(RouteSocket& socket, const std::string& name, const HostPort& port) {
  TRY_ASSIGN(Tap tap, make_tap(name));
  (void)socket.call(no_generated_addresses_request(tap.index));  // a kernel without IPv6
  std::vector<NetlinkRequest> requests = {tap_settings_request(tap.index, port.mtu), set_up_request(tap.index),
                                          set_master_request(tap.index, port.bridge_index),
                                          port_flags_request(tap.index, /*flooded=*/false)};
  if (port.vlan_aware) add_vlan_requests(tap.index, port.vlans, requests);
  TRY_ASSIGN(auto verdicts, socket.call_all(requests));
  for (auto& verdict : verdicts) TRY_DOING("the tap " + name, std::move(verdict));
  return HoldTap(std::move(tap), port);
}

void HoldTap::add_diversion(bool on, std::vector<NetlinkRequest>& requests) const {
  auto add = [&](bool remove) {
    if (vlans_.empty()) requests.push_back(fdb_request(remove, tap_.index, mac_));
    for (const peer::Vlan& vlan : vlans_) requests.push_back(fdb_request(remove, tap_.index, mac_, vlan.id()));
  };
  add(/*remove=*/false);
  add(/*remove=*/!on);  // of the tap's entries only
  requests.push_back(port_flags_request(tap_.index, /*flooded=*/on));
}

}  // namespace godwit::network
