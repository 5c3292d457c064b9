// Integers as bytes on the wire: little-endian, whatever the host is.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

namespace godwit::wire {

template <std::unsigned_integral T>
void put_le(char* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
}

template <std::unsigned_integral T>
T get_le(const char* in) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(in[i])) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace godwit::wire
