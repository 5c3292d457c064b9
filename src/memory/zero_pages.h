#pragma once

#include <cstdint>
#include <cstring>

#include "base/page.h"

namespace godwit {

// PAGE has kPageBytes. Most pages that are not zero say so in their first words.
inline bool is_zero_page(const void* page) {
  const char* bytes = static_cast<const char*>(page);
  uint64_t first = 0;
  std::memcpy(&first, bytes, sizeof first);
  return first == 0 && std::memcmp(bytes, bytes + sizeof first, kPageBytes - sizeof first) == 0;
}

}  // namespace godwit
