// Compression of page contents, as wire::Codec names it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/frame.h"

namespace godwit {

// Replaces OUT by the packed form of PARTS, taken as one stream of bytes; false if that is not smaller than
// BYTES, their sum, and they are better sent as they are. CODEC is not kNone.
bool pack(wire::Codec codec, std::span<const std::string_view> parts, size_t bytes, std::string& out);

// Fills OUT, whose size is known beforehand, from PACKED, which comes from a peer.
Result<> unpack(wire::Codec codec, std::string_view packed, std::span<std::byte> out);

}  // namespace godwit
