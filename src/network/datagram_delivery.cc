#include "network/datagram_delivery.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "kernel/netns.h"
#include "network/datagram_packets.h"
#include "network/ip_address.h"
#include "network/ip_packets.h"
#include "network/mac.h"

namespace godwit::network {
namespace {

using namespace std::string_view_literals;

constexpr size_t kLoopbackMtu = 65535;

std::string loopback_address(bool v4) {
  return v4 ? std::string("\x7f\0\0\x01", sizeof(in_addr))
            : std::string(reinterpret_cast<const char*>(&in6addr_loopback), sizeof(in6_addr));
}

// RFC 1112 6.4, RFC 2464 7.
std::string group_mac(std::string_view group) {
  if (!is_v4(group)) return std::string("\x33\x33").append(group.substr(12));
  std::string mac("\x01\0\x5e", 3);
  mac += static_cast<char>(group[1] & 0x7f);
  return mac.append(group.substr(2));
}

}  // namespace

Result<> DatagramDelivery::deliver(const peer::Datagram& datagram, uint16_t port) {
  const peer::Link* link = link_of(datagram);
  const std::string destination = destination_of(datagram, link);
  if (link != nullptr && !is_local(datagram.source()))
    for (const HostEnd& end : network_.host_ends())
      if (end.index != 0 && as_bytes(end.container_mac) == link->mac())
        return send_frames(datagram, destination, port, *link, end);
  return send_inside(datagram, destination, port);
}

// That it must come by; none: it does not matter.
const peer::Link* DatagramDelivery::link_of(const peer::Datagram& datagram) const {
  const bool to_group = !datagram.destination().empty() && is_multicast(datagram.destination());
  for (const peer::Link& link : state_.links())
    if (!link.loopback() && (link.index() == datagram.link() || (datagram.link() == 0 && to_group))) return &link;
  return nullptr;
}

std::string DatagramDelivery::destination_of(const peer::Datagram& datagram, const peer::Link* link) const {
  if (!datagram.destination().empty()) return datagram.destination();
  const bool v4 = is_v4(datagram.source());
  if (!is_loopback(datagram.source()))
    for (const peer::Address& address : state_.addresses())
      if (address.address().size() == datagram.source().size() && !is_loopback(address.address()) &&
          is_link_local(address.address()) == is_link_local(datagram.source()) &&
          (link == nullptr || address.link() == link->name()))
        return address.address();
  return loopback_address(v4);
}

bool DatagramDelivery::is_local(const std::string& address) const {
  return is_loopback(address) ||
         std::ranges::any_of(state_.addresses(), [&](const peer::Address& ours) { return ours.address() == address; });
}

Result<> DatagramDelivery::send_frames(const peer::Datagram& datagram, const std::string& destination, uint16_t port,
                                       const peer::Link& link, const HostEnd& end) {
  const std::string header =
      ethernet_header(is_multicast(destination) ? group_mac(destination) : link.mac(), is_v4(destination));
  std::vector<std::string> frames;
  for (const std::string& packet : datagram_packets(datagram, destination, port, link.mtu()))
    frames.push_back(header + packet);
  TRY(frames_.send({&end, 1}, frames));
  return {};
}

Result<> DatagramDelivery::send_inside(const peer::Datagram& datagram, const std::string& destination, uint16_t port) {
  for (const std::string& packet : datagram_packets(datagram, destination, port, kLoopbackMtu))
    TRY_DOING("delivering a datagram that was not read", inside_.send(packet, destination));
  return {};
}

}  // namespace godwit::network
