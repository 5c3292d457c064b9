// IP addresses as 4 or 16 bytes, in network order: of what kind they are, and as socket calls take them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

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

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline SocketAddress socket_address(std::string_view address, uint16_t port) {
  SocketAddress made;
  if (is_v4(address)) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, address.data(), sizeof v4.sin_addr);
    std::memcpy(&made.storage, &v4, made.size = sizeof v4);
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.data(), sizeof v6.sin6_addr);
    std::memcpy(&made.storage, &v6, made.size = sizeof v6);
  }
  return made;
}

}  // namespace godwit::network
