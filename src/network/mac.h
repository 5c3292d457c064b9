// An Ethernet address, and its ways in and out of the messages, where it is six bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit::network {

using MacAddress = std::array<uint8_t, 6>;

// An error unless BYTES are six, not all zero, and name one station.
Result<MacAddress> unicast_mac(std::string_view bytes);

inline std::string_view as_bytes(const MacAddress& mac) {
  return {reinterpret_cast<const char*>(mac.data()), mac.size()};
}

// A random one of our own that a bridge never takes for its own: a bridge takes the lowest of its
// ports'.
MacAddress high_mac();

std::string to_text(const MacAddress& mac);  // 02:00:0a:63:02:07

}  // namespace godwit::network
