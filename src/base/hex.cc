#include "base/hex.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace godwit {

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

Result<std::string> from_hex(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    unsigned value = 0;
    const char* end = text.data() + std::min(i + 2, text.size());
    if (std::from_chars(text.data() + i, end, value, 16).ptr != text.data() + i + 2)
      return fail("odd hexadecimal text");
    bytes += static_cast<char>(value);
  }
  return bytes;
}

}  // namespace godwit
