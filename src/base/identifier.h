// Names that come from users and peers: container names, node names, migration ids. Checked once, here.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

// runC's rule for container names, with a bound: letters, digits, _ + - . ; not "." or "..".
inline constexpr size_t kNameBytesMax = 128;
Result<> check_name(std::string_view what, std::string_view name);

// 16 lower-case hexadecimal digits from the kernel's random source.
std::string random_id();
Result<> check_id(std::string_view id);

// BYTES random bytes from the kernel.
std::string random_bytes(size_t bytes);

}  // namespace godwit
