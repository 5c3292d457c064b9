#include "network/datagram_packets.h"

#include <netinet/in.h>

#include "network/big_endian.h"
#include "network/ip_checksum.h"
#include "network/ip_packets.h"

namespace godwit::network {
namespace {

constexpr size_t kHeaderBytes = 8, kChecksumAt = 6;  // RFC 768

std::string udp_message(const peer::Datagram& datagram, std::string_view destination, uint16_t port) {
  const size_t size = kHeaderBytes + datagram.data().size();
  std::string message = u16(datagram.source_port()) + u16(port) + u16(size) + u16(0) + datagram.data();
  set_transport_checksum(datagram.source(), destination, IPPROTO_UDP, message, kChecksumAt);
  return message;
}

}  // namespace

std::vector<std::string> datagram_packets(const peer::Datagram& datagram, std::string_view destination, uint16_t port,
                                          size_t mtu) {
  const IpHeader header{.source = datagram.source(),
                        .destination = destination,
                        .protocol = IPPROTO_UDP,
                        .traffic_class = datagram.traffic_class(),
                        .hops = datagram.hops()};
  return ip_packets(header, udp_message(datagram, destination, port), mtu);
}

}  // namespace godwit::network
