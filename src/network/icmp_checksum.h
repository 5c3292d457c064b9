// The checksum of ICMPv6.
#pragma once

#include <string>
#include <string_view>

namespace godwit::network {

// Writes it into MESSAGE (bytes 2 and 3, zero so far), which goes FROM one address TO another, 16 bytes each.
void set_icmp_checksum(std::string_view from, std::string_view to, std::string& message);

}  // namespace godwit::network
