// Requests for macvlans. A macvlan in mode "source" with an empty list of sources receives nothing, and its mode can be
// changed at once while it is up: that is how one is taken off its LAN and put on it.
#pragma once

#include <cstdint>
#include <string>

#include "kernel/rtnetlink.h"
#include "network/mac.h"
#include "peer.pb.h"

namespace godwit::network {

// Whether a macvlan of this MACVLAN_MODE_* can be carried: private, vepa, bridge. (Passthru has the parent for itself;
// source has a list of its own.)
bool is_carried_macvlan_mode(uint32_t mode);

// Sent on the host of PARENT, the link's index there. The macvlan is made in the namespace NETNS_FD with the index
// INDEX (0: any), off the LAN, with another MAC than LINK's, so that no switch takes it for the container.
NetlinkRequest macvlan_request(const peer::Link& link, uint32_t index, uint32_t parent, int netns_fd,
                               const MacAddress& mac);

// In the macvlan's namespace.
NetlinkRequest off_lan_request(uint32_t index);
// Off the LAN it receives what this MAC sends, until its mode changes.
NetlinkRequest admit_source_request(uint32_t index, const MacAddress& mac);
NetlinkRequest on_lan_request(uint32_t index, uint32_t mode);
// With another MAC, which it gets when it receives already: whoever hears of it may answer.
NetlinkRequest on_lan_request(uint32_t index, uint32_t mode, const MacAddress& mac);

}  // namespace godwit::network
