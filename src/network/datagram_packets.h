// A UDP datagram that was read from a socket, as the IP packets that it came in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sockets.pb.h"

namespace godwit::network {

// From the datagram's source to port PORT at DESTINATION (of the same size as the source), in fragments where MTU asks
// for them. DATAGRAM has been checked (runtime/unread_datagrams.h).
std::vector<std::string> datagram_packets(const peer::Datagram& datagram, std::string_view destination, uint16_t port,
                                          size_t mtu);

}  // namespace godwit::network
