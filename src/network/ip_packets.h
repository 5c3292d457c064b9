// A message of UDP or TCP as the IP packets that it travels in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::network {

struct IpHeader {
  std::string_view source, destination;  // both 4 or 16 bytes
  uint8_t protocol = 0;
  uint32_t traffic_class = 0;
  uint32_t hops = 0;  // 0: as many as usual
};

// In fragments where MTU asks for them.
std::vector<std::string> ip_packets(const IpHeader& header, std::string_view message, size_t mtu);

// A MAC that no link has.
inline constexpr std::string_view kNobodysMac("\x02\0\0\0\0\x01", 6);

// What comes before an IP packet in a frame from SOURCE to DESTINATION, two MACs.
std::string ethernet_header(std::string_view destination, bool v4, std::string_view source = kNobodysMac);

}  // namespace godwit::network
