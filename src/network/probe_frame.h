// The frames that ask whether an address is in use, and what answers say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "network/mac.h"

namespace godwit::network {

// From MAC; "" for addresses that are neither 4 (AF_INET) nor 16 bytes long (AF_INET6).
std::string probe_frame(const MacAddress& mac, uint32_t family, std::string_view address);

// FRAME, anything the wire brings, says that an address is somebody's.
struct Claim {
  std::string address;
  MacAddress mac{};
};
std::optional<Claim> parse_claim(std::string_view frame);

}  // namespace godwit::network
