// IP addresses in error messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace godwit::network {

// Bytes of an address of FAMILY (AF_INET, AF_INET6); 0 for any other family.
size_t address_bytes(uint32_t family);

// 10.99.2.7 or fd00::7, "any" if empty, "?" if the size is wrong.
std::string address_text(uint32_t family, std::string_view address);

}  // namespace godwit::network
