#include "network/ip_packets.h"

#include <atomic>

#include "network/big_endian.h"
#include "network/ip_checksum.h"

namespace godwit::network {

using namespace std::string_view_literals;

namespace {

constexpr size_t kHeaderBytesV4 = 20, kHeaderBytesV6 = 40, kFragmentHeaderBytes = 8;
constexpr uint8_t kFragment = 44;
constexpr uint8_t kHopsUsual = 64;

char u8(size_t value) { return static_cast<char>(value); }

// A part of MESSAGE in fragments of one packet that begins at OFFSET.
struct Part {
  std::string_view bytes;
  size_t offset;
  bool last;
  bool whole;
  uint16_t number;  // of the packet
};

std::string v4_packet(const IpHeader& ip, const Part& part) {
  const size_t fragment = part.offset / 8 | (part.last ? 0 : size_t{0x2000});
  std::string header{u8(0x45), u8(ip.traffic_class)};
  header += u16(kHeaderBytesV4 + part.bytes.size()) + u16(part.number) + u16(fragment);
  header += {u8(ip.hops == 0 ? kHopsUsual : ip.hops), u8(ip.protocol), '\0', '\0'};
  header.append(ip.source).append(ip.destination);
  header.replace(10, 2, u16(internet_checksum(header)));
  return header.append(part.bytes);
}

std::string v6_packet(const IpHeader& ip, const Part& part) {
  const uint32_t traffic = ip.traffic_class;
  std::string packet{u8(0x60 | traffic >> 4), u8((traffic & 15) << 4), '\0', '\0'};
  packet += u16(part.bytes.size() + (part.whole ? 0 : kFragmentHeaderBytes));
  packet += {u8(part.whole ? ip.protocol : kFragment), u8(ip.hops == 0 ? kHopsUsual : ip.hops)};
  packet.append(ip.source).append(ip.destination);
  if (!part.whole) {
    packet += {u8(ip.protocol), '\0'};
    packet += u16(part.offset | (part.last ? 0 : 1)) + u16(0) + u16(part.number);
  }
  return packet.append(part.bytes);
}

}  // namespace

std::vector<std::string> ip_packets(const IpHeader& header, std::string_view message, size_t mtu) {
  static std::atomic<uint16_t> last_number = 0;
  const uint16_t number = ++last_number;
  const bool v4 = header.destination.size() == 4;
  const size_t header_bytes = v4 ? kHeaderBytesV4 : kHeaderBytesV6;
  const bool whole = header_bytes + message.size() <= mtu;
  const size_t room = whole ? message.size() : (mtu - header_bytes - (v4 ? 0 : kFragmentHeaderBytes)) / 8 * 8;
  std::vector<std::string> packets;
  for (size_t at = 0; at < message.size(); at += room) {
    const Part part{.bytes = message.substr(at, room),
                    .offset = at,
                    .last = at + room >= message.size(),
                    .whole = whole,
                    .number = number};
    packets.push_back(v4 ? v4_packet(header, part) : v6_packet(header, part));
  }
  return packets;
}

std::string ethernet_header(std::string_view destination, bool v4, std::string_view source) {
  return std::string(destination).append(source).append(v4 ? "\x08\0"sv : "\x86\xdd"sv);
}

}  // namespace godwit::network
