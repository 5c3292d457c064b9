#include "transport/page_codec.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>

namespace godwit {

namespace {

// Of zstd's levels the fastest ordinary one: 2 and 3 cost half as much time again for a few percent.
constexpr int kZstdLevel = 1;

size_t pack_whole(wire::Codec codec, std::string_view in, std::string& out) {
  if (codec == wire::Codec::kLz4) {
    const int packed =
        LZ4_compress_default(in.data(), out.data(), static_cast<int>(in.size()), static_cast<int>(out.size()));
    return static_cast<size_t>(std::max(packed, 0));
  }
  const size_t packed = ZSTD_compress(out.data(), out.size(), in.data(), in.size(), kZstdLevel);
  return ZSTD_isError(packed) != 0 ? 0 : packed;
}

}  // namespace

bool pack(wire::Codec codec, std::span<const std::string_view> parts, size_t bytes, std::string& out) {
  thread_local std::string gathered;
  std::string_view whole = parts.size() == 1 ? parts[0] : std::string_view();
  if (parts.size() != 1) {
    gathered.clear();
    for (std::string_view part : parts) gathered.append(part);
    whole = gathered;
  }
  out.resize(bytes);  // no room for more: then it is not worth it
  const size_t packed = pack_whole(codec, whole, out);
  out.resize(packed);
  return packed > 0 && packed < bytes;
}

Result<> unpack(wire::Codec codec, std::string_view packed, std::span<std::byte> out) {
  auto* to = reinterpret_cast<char*>(out.data());
  size_t got = 0;
  if (codec == wire::Codec::kLz4) {
    const int unpacked =
        LZ4_decompress_safe(packed.data(), to, static_cast<int>(packed.size()), static_cast<int>(out.size()));
    got = static_cast<size_t>(std::max(unpacked, 0));
  } else if (codec == wire::Codec::kZstd) {
    got = ZSTD_decompress(to, out.size(), packed.data(), packed.size());
  }
  if (got != out.size()) return fail("packed pages that do not unpack to what was announced");
  return {};
}

}  // namespace godwit
