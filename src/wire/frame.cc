#include "wire/frame.h"

#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr size_t kTypeAt = 0, kIndexAt = 4, kOffsetAt = 8, kLengthAt = 16;

// All bytes that no field of this version owns.
bool unused_are_zero(std::string_view bytes) {
  constexpr std::string_view kZeros("\0\0\0\0\0\0\0\0\0\0\0\0", 12);
  return bytes.substr(1, 3) == kZeros.substr(0, 3) && bytes.substr(20, 12) == kZeros;
}

struct Bounds {
  uint32_t index_max;
  uint32_t length_min;
  uint32_t length_max;
};

Result<Bounds> bounds_of(FrameType type) {
  switch (type) {
    case FrameType::kFileBegin:
      return Bounds{kImageFilesMax - 1, 1, kImageNameBytesMax};
    case FrameType::kFileData:
      return Bounds{kImageFilesMax - 1, 1, kFramePayloadMax};
    case FrameType::kFileEnd:
      return Bounds{kImageFilesMax - 1, 0, 0};
    case FrameType::kImagesEnd:
    case FrameType::kSmallFilesEnd:
      return Bounds{kImageFilesMax, 0, 0};
  }
  return fail("frame of unknown type " + std::to_string(static_cast<int>(type)));
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

void encode_frame_header(const FrameHeader& header, char* out) {
  for (size_t i = 0; i < kFrameHeaderBytes; ++i) out[i] = '\0';
  out[kTypeAt] = static_cast<char>(header.type);
  put_le(out + kIndexAt, header.index);
  put_le(out + kOffsetAt, header.offset);
  put_le(out + kLengthAt, header.length);
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() != kFrameHeaderBytes) return fail("frame header of " + std::to_string(bytes.size()) + " bytes");
  FrameHeader header;
  header.type = static_cast<FrameType>(bytes[kTypeAt]);
  header.index = get_le<uint32_t>(&bytes[kIndexAt]);
  header.offset = get_le<uint64_t>(&bytes[kOffsetAt]);
  header.length = get_le<uint32_t>(&bytes[kLengthAt]);
  TRY_ASSIGN(const Bounds bounds, bounds_of(header.type));
  if (!unused_are_zero(bytes)) return fail("frame with bits set that version 1.0 does not have");
  if (header.index > bounds.index_max) return fail("frame for file number " + std::to_string(header.index));
  if (header.length < bounds.length_min || header.length > bounds.length_max)
    return fail("frame of " + std::to_string(header.length) + " bytes");
  if (header.type == FrameType::kFileBegin && header.offset != 0)
    return fail("file that begins at " + std::to_string(header.offset));
  if (header.offset > kImageBytesMax - header.length) return fail("frame at offset " + std::to_string(header.offset));
  return header;
}

Result<> check_image_name(std::string_view name) {
  if (name.empty() || name.size() > kImageNameBytesMax)
    return fail("image file name of " + std::to_string(name.size()) + " bytes");
  if (name.front() == '.') return fail("image file name with a leading dot");
  for (char c : name) {
    if (!is_name_char(c)) return fail("image file name with a character other than letters, digits and . _ -");
  }
  return {};
}

}  // namespace godwit::wire
