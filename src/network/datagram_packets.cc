#include "network/datagram_packets.h"

#include <algorithm>

namespace godwit::network {
namespace {

constexpr size_t kHeaderBytesV4 = 20, kHeaderBytesV6 = 40, kFragmentHeaderBytes = 8;
constexpr uint8_t kUdp = 17, kFragment = 44;
constexpr uint8_t kHopsDefault = 64;

std::string u16(size_t value) { return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)}; }
char u8(size_t value) { return static_cast<char>(value); }

// RFC 1071, over 16-bit words in network order.
uint16_t checksum(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 8 |
           (i + 1 < bytes.size() ? static_cast<uint8_t>(bytes[i + 1]) : 0U);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

std::string udp_message(const peer::Datagram& datagram, std::string_view destination, uint16_t port) {
  const size_t size = 8 + datagram.data().size();
  std::string message = u16(datagram.source_port()) + u16(port) + u16(size) + u16(0) + datagram.data();
  std::string summed = datagram.source();  // the pseudo-header: RFC 768, RFC 8200 8.1
  summed.append(destination);
  summed += destination.size() == 4 ? std::string{'\0', u8(kUdp)} + u16(size)
                                    : u16(0) + u16(size) + std::string{'\0', '\0', '\0', u8(kUdp)};
  const uint16_t sum = checksum(summed + message);
  message.replace(6, 2, u16(sum == 0 ? 0xffff : sum));
  return message;
}

// A part of MESSAGE in fragments of one packet that begins at OFFSET.
struct Part {
  std::string_view bytes;
  size_t offset;
  bool last;
  bool whole;
  uint16_t number;  // of the packet
};

std::string v4_packet(const peer::Datagram& datagram, std::string_view destination, const Part& part) {
  const size_t fragment = part.offset / 8 | (part.last ? 0 : size_t{0x2000});
  std::string header{u8(0x45), u8(datagram.traffic_class())};
  header += u16(kHeaderBytesV4 + part.bytes.size()) + u16(part.number) + u16(fragment);
  header += {u8(datagram.hops() == 0 ? kHopsDefault : datagram.hops()), u8(kUdp), '\0', '\0'};
  header.append(datagram.source()).append(destination);
  header.replace(10, 2, u16(checksum(header)));
  return header.append(part.bytes);
}

std::string v6_packet(const peer::Datagram& datagram, std::string_view destination, const Part& part) {
  const uint32_t traffic = datagram.traffic_class();
  std::string packet{u8(0x60 | traffic >> 4), u8((traffic & 15) << 4), '\0', '\0'};
  packet += u16(part.bytes.size() + (part.whole ? 0 : kFragmentHeaderBytes));
  packet += {u8(part.whole ? kUdp : kFragment), u8(datagram.hops() == 0 ? kHopsDefault : datagram.hops())};
  packet.append(datagram.source()).append(destination);
  if (!part.whole) {
    packet += {u8(kUdp), '\0'};
    packet += u16(part.offset | (part.last ? 0 : 1)) + u16(0) + u16(part.number);
  }
  return packet.append(part.bytes);
}

}  // namespace

std::vector<std::string> datagram_packets(const peer::Datagram& datagram, std::string_view destination, uint16_t port,
                                          size_t mtu) {
  static uint16_t number = 0;
  ++number;
  const bool v4 = destination.size() == 4;
  const std::string message = udp_message(datagram, destination, port);
  const size_t header = v4 ? kHeaderBytesV4 : kHeaderBytesV6;
  const bool whole = header + message.size() <= mtu;
  const size_t room = whole ? message.size() : (mtu - header - (v4 ? 0 : kFragmentHeaderBytes)) / 8 * 8;
  std::vector<std::string> packets;
  for (size_t at = 0; at < message.size(); at += room) {
    const Part part{.bytes = std::string_view(message).substr(at, room),
                    .offset = at,
                    .last = at + room >= message.size(),
                    .whole = whole,
                    .number = number};
    packets.push_back(v4 ? v4_packet(datagram, destination, part) : v6_packet(datagram, destination, part));
  }
  return packets;
}

}  // namespace godwit::network
