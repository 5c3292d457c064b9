// What kind of address 4 or 16 bytes are, in network order.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <cstring>
#include <string_view>

namespace godwit::network {

inline bool is_v4(std::string_view address) { return address.size() == sizeof(in_addr); }

inline bool is_loopback(std::string_view address) {
  if (is_v4(address)) return address[0] == 127;
  return std::memcmp(address.data(), &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

inline bool is_multicast(std::string_view address) {
  const auto first = static_cast<uint8_t>(address[0]);
  return is_v4(address) ? first >> 4 == 14 : first == 0xff;
}

inline bool is_link_local(std::string_view address) {
  return !is_v4(address) && static_cast<uint8_t>(address[0]) == 0xfe &&
         (static_cast<uint8_t>(address[1]) & 0xc0) == 0x80;
}

}  // namespace godwit::network
