// What a peer says of a container's sockets, and the packets that are made of it.
#include "network/datagram_packets.h"
#include "runtime/multicast_groups.h"
#include "runtime/socket_options.h"
#include "runtime/socket_states.h"
#include "sockets.pb.h"
#include "target.h"

using namespace godwit;
using fuzz::require;

GODWIT_FUZZ_TARGET(socket_states) {
  peer::SocketStates states;
  if (!states.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  if (!check_socket_states(states)) return;
  for (const peer::SocketState& state : states.sockets()) {
    require(state.options_size() <= kOptionsPerSocketMax, "options are bounded");
    for (const peer::SocketOption& option : state.options())
      require(!option.value().empty() && option.value().size() <= 32, "values are as small as the list says");
    for (const peer::Membership& membership : state.memberships())
      require(membership.group().size() == 4 || membership.group().size() == 16, "a group is an address");
    for (const peer::Datagram& datagram : state.unread()) {
      const std::string to(datagram.source().size(), '\x01');
      for (const size_t mtu : {size_t{68}, size_t{1500}, size_t{65535}})
        for (const std::string& packet : network::datagram_packets(datagram, to, 7, mtu))
          require(packet.size() <= mtu || packet.size() <= 65535 + 40, "a packet fits");
    }
  }
}
