#include "network/tcp_segment.h"

#include <netinet/in.h>

#include "network/big_endian.h"
#include "network/ip_checksum.h"
#include "network/ip_packets.h"

namespace godwit::network {
namespace {

constexpr size_t kHeaderBytes = 20, kChecksumAt = 16;  // RFC 9293 3.1
constexpr size_t kPacketBytesMax = 65535;

uint8_t u8_at(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }
uint16_t u16_at(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(u8_at(bytes, at) << 8 | u8_at(bytes, at + 1));
}
uint32_t u32_at(std::string_view bytes, size_t at) {
  return static_cast<uint32_t>(u16_at(bytes, at)) << 16 | u16_at(bytes, at + 2);
}

std::string options_of(const TcpSegment& segment) {
  std::string options;
  if (!segment.timestamps) return options;
  options.append(2, static_cast<char>(TCPOPT_NOP));  // so that the numbers are aligned
  options.push_back(static_cast<char>(TCPOPT_TIMESTAMP));
  options.push_back(static_cast<char>(TCPOLEN_TIMESTAMP));
  options += u32(segment.timestamps->value);
  options += u32(segment.timestamps->echo);
  return options;
}

std::optional<TcpTimestamps> timestamps_in(std::string_view options) {
  while (!options.empty()) {
    const uint8_t kind = u8_at(options, 0);
    if (kind == TCPOPT_EOL) break;
    const size_t size = kind == TCPOPT_NOP ? 1 : options.size() < 2 ? 0 : u8_at(options, 1);
    if (size > options.size() || size < (kind == TCPOPT_NOP ? 1 : 2)) break;
    if (kind == TCPOPT_TIMESTAMP && size == TCPOLEN_TIMESTAMP)
      return TcpTimestamps{.value = u32_at(options, 2), .echo = u32_at(options, 6)};
    options.remove_prefix(size);
  }
  return std::nullopt;
}

// What PACKET carries, with the addresses noted in SEGMENT; empty if it is not TCP in one piece.
std::string_view payload_of_v4(std::string_view packet, TcpSegment& segment) {
  constexpr size_t kLeast = 20;
  if (packet.size() < kLeast) return {};
  const size_t header = (u8_at(packet, 0) & 15) * size_t{4}, total = u16_at(packet, 2);
  const bool fragment = (u16_at(packet, 6) & 0x3fff) != 0;
  if (header < kLeast || total < header || total > packet.size() || fragment || u8_at(packet, 9) != IPPROTO_TCP)
    return {};
  segment.source = packet.substr(12, 4);
  segment.destination = packet.substr(16, 4);
  return packet.substr(header, total - header);
}

std::string_view payload_of_v6(std::string_view packet, TcpSegment& segment) {
  constexpr size_t kHeader = 40;
  if (packet.size() < kHeader) return {};
  const size_t size = u16_at(packet, 4);
  if (size > packet.size() - kHeader || u8_at(packet, 6) != IPPROTO_TCP) return {};
  segment.source = packet.substr(8, 16);
  segment.destination = packet.substr(24, 16);
  return packet.substr(kHeader, size);
}

}  // namespace

std::string tcp_packet(const TcpSegment& segment) {
  const std::string options = options_of(segment);
  std::string message;
  message += u16(segment.source_port);
  message += u16(segment.destination_port);
  message += u32(segment.sequence);
  message += u32(segment.acknowledgement);
  message.push_back(static_cast<char>((kHeaderBytes + options.size()) / 4 << 4));
  message.push_back(static_cast<char>(segment.flags));
  message += u16(segment.window);
  message += u32(0);  // checksum, urgent pointer
  message.append(options).append(segment.data);
  set_transport_checksum(segment.source, segment.destination, IPPROTO_TCP, message, kChecksumAt);
  const IpHeader header{.source = segment.source, .destination = segment.destination, .protocol = IPPROTO_TCP};
  return ip_packets(header, message, kPacketBytesMax).front();
}

std::optional<TcpSegment> parse_tcp_packet(std::string_view packet) {
  if (packet.empty()) return std::nullopt;
  TcpSegment segment;
  const int version = u8_at(packet, 0) >> 4;
  const std::string_view message = version == 4   ? payload_of_v4(packet, segment)
                                   : version == 6 ? payload_of_v6(packet, segment)
                                                  : std::string_view();
  if (message.size() < kHeaderBytes) return std::nullopt;
  const size_t header = (u8_at(message, 12) >> 4) * size_t{4};
  if (header < kHeaderBytes || header > message.size()) return std::nullopt;
  segment.source_port = u16_at(message, 0);
  segment.destination_port = u16_at(message, 2);
  segment.sequence = u32_at(message, 4);
  segment.acknowledgement = u32_at(message, 8);
  segment.flags = u8_at(message, 13);
  segment.window = u16_at(message, 14);
  segment.timestamps = timestamps_in(message.substr(kHeaderBytes, header - kHeaderBytes));
  segment.data = message.substr(header);
  return segment;
}

}  // namespace godwit::network
