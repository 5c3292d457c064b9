#include "base/identifier.h"

#include <sys/random.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>

namespace godwit {

namespace {
bool is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '+' || c == '-' || c == '.';
}
}  // namespace

Result<> check_name(std::string_view what, std::string_view name) {
  const std::string label(what);
  if (name.empty()) return fail(label + " is empty");
  if (name.size() > kNameBytesMax) return fail(label + " is longer than " + std::to_string(kNameBytesMax) + " bytes");
  if (name == "." || name == "..") return fail(label + " may not be '" + std::string(name) + "'");
  for (char c : name) {
    if (!is_name_char(c)) return fail(label + " has a character other than letters, digits and _ + - .");
  }
  return {};
}

std::string random_bytes(size_t bytes) {
  std::string value(bytes, '\0');
  size_t have = 0;
  while (have < bytes) {
    ssize_t got = ::getrandom(value.data() + have, bytes - have, 0);
    if (got < 0 && errno != EINTR) std::abort();  // cannot fail once the kernel has booted
    if (got > 0) have += static_cast<size_t>(got);
  }
  return value;
}

std::string random_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (char byte : random_bytes(8)) {
    id += kHex[static_cast<uint8_t>(byte) >> 4];
    id += kHex[static_cast<uint8_t>(byte) & 15];
  }
  return id;
}

Result<> check_id(std::string_view id) {
  bool good = id.size() == 16;
  for (char c : id) good = good && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
  if (!good) return fail("a migration id is 16 hexadecimal digits");
  return {};
}

}  // namespace godwit
