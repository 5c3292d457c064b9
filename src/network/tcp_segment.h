// A TCP segment in an IP packet of its own.
#pragma once

#include <netinet/tcp.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace godwit::network {

struct TcpTimestamps {
  uint32_t value = 0;
  uint32_t echo = 0;
};

struct TcpSegment {
  std::string source, destination;  // both 4 or 16 bytes
  uint16_t source_port = 0, destination_port = 0;
  uint32_t sequence = 0, acknowledgement = 0;
  uint8_t flags = 0;  // TH_ACK, …
  uint16_t window = 0;
  std::optional<TcpTimestamps> timestamps = {};
  std::string data = {};
};

// Its urgent pointer, to which TH_URG may point, is 0: the first byte of data.
std::string tcp_packet(const TcpSegment& segment);

// None if PACKET, which may be anything, is not a segment in one piece. IPv6 without extension headers.
std::optional<TcpSegment> parse_tcp_packet(std::string_view packet);

}  // namespace godwit::network
