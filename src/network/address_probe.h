// Is an address that is about to arrive in use on this LAN already? Asked as hosts ask before they take one: ARP probes
// (RFC 5227 2.1.1) and neighbour solicitations from the unspecified address (RFC 4862 5.4.2), which change nobody's
// tables. The container itself answers, from the source: only another MAC than its own is a conflict.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "network/mac.h"
#include "peer.pb.h"

namespace godwit::network {

// A peer says what to ask for: no more than these.
inline constexpr int kProbedAddressesMax = 64;

// PROBE_NUM of RFC 5227. Its intervals of a second are for hosts that start at the same moment; who has an address and
// runs answers within milliseconds.
inline constexpr int kProbes = 3;
inline constexpr milliseconds kProbeInterval{50};

struct AddressConflict {
  std::string address;  // as text
  std::string holder;   // its MAC, or "this host"
};

// Asks on LINK (a bridge, or the parent of macvlans) of the calling thread's namespace for those of ADDRESSES that
// are on the LAN (not of scope host). Takes kProbes * kProbeInterval.
Result<std::vector<AddressConflict>> find_conflicts(const std::string& link, const std::vector<MacAddress>& own,
                                                    const std::vector<peer::Address>& addresses);

// The port of BRIDGE behind which MAC was last seen, and its MTU; "" and 0 if it was not. After a probe that is the
// uplink to the source.
struct PortBehind {
  std::string name;
  uint32_t mtu = 0;
};
Result<PortBehind> find_port_behind(const std::string& bridge, const MacAddress& mac);

}  // namespace godwit::network
