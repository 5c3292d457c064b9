// Numbers in network order, as the bytes of a string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace godwit::network {

inline std::string u16(size_t value) { return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)}; }
inline std::string u32(uint32_t value) { return u16(value >> 16) + u16(value & 0xffff); }

}  // namespace godwit::network
