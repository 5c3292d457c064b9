// Bytes as hexadecimal text.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

std::string to_hex(std::string_view bytes);
Result<std::string> from_hex(std::string_view text);

}  // namespace godwit
