// The frames that say "this address is at this MAC".
#pragma once

#include <cstdint>
#include <string>

#include "network/mac.h"

namespace godwit::network {

// ADDRESS is 4 bytes (AF_INET) or 16 (AF_INET6); anything else, and addresses that nobody may
// claim, yield "".
std::string announcement_frame(const MacAddress& mac, uint32_t family, const std::string& address);

}  // namespace godwit::network
