// What byte_server and byte_client send each other: one endless stream of known bytes, in blocks.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace godwit::workloads {

inline constexpr size_t kBlockBytes = 65536;

// Byte I of the stream. Its period is the block and a bit, so a lost or doubled block is seen.
inline char stream_byte(uint64_t i) { return static_cast<char>((i % 65537) * 40503 >> 5); }

inline void make_block(uint64_t from, std::string& block) {
  for (size_t i = 0; i < block.size(); ++i) block[i] = stream_byte(from + i);
}

inline bool is_stream(uint64_t from, const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (bytes[i] != stream_byte(from + i)) return false;
  return true;
}

}  // namespace godwit::workloads
