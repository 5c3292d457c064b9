// The checksums of IP and of what it carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace godwit::network {

// RFC 1071, over 16-bit words in network order.
uint16_t internet_checksum(std::string_view bytes);

inline constexpr size_t kIcmpChecksumAt = 2;  // RFC 4443 2.1

// Writes the checksum of MESSAGE (TCP, UDP, ICMPv6: PROTOCOL) into it, at AT, where it is zero so far. It goes from
// SOURCE to DESTINATION, both 4 or 16 bytes.
void set_transport_checksum(std::string_view source, std::string_view destination, uint8_t protocol,
                            std::string& message, size_t at);

}  // namespace godwit::network
