#include "wire/frame.h"

#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr size_t kTypeAt = 0, kIndexAt = 4, kOffsetAt = 8, kLengthAt = 16, kCountAt = 20, kCodecAt = 1;

// All bytes that no field of this version owns.
bool unused_are_zero(std::string_view bytes) {
  constexpr std::string_view kZeros("\0\0\0\0\0\0\0\0", 8);
  return bytes.substr(2, 2) == kZeros.substr(0, 2) && bytes.substr(24, 8) == kZeros;
}

struct Bounds {
  uint32_t index_max;
  uint32_t length_min;
  uint32_t length_max;
  uint64_t offset_max = 0;
  uint32_t runs_max = 0;  // 0: none allowed, else at least one
  Codec codec_max = Codec::kNone;
};

Result<Bounds> bounds_of(FrameType type) {
  switch (type) {
    case FrameType::kFileBegin:
      return Bounds{.index_max = kImageFilesMax - 1, .length_min = 1, .length_max = kImageNameBytesMax};
    case FrameType::kFileData:
      return Bounds{.index_max = kImageFilesMax - 1,
                    .length_min = 1,
                    .length_max = kFramePayloadMax,
                    .offset_max = kImageBytesMax};
    case FrameType::kFileEnd:
      return Bounds{.index_max = kImageFilesMax - 1, .length_min = 0, .length_max = 0, .offset_max = kImageBytesMax};
    case FrameType::kImagesEnd:
    case FrameType::kSmallFilesEnd:
      return Bounds{.index_max = kImageFilesMax, .length_min = 0, .length_max = 0, .offset_max = kImageBytesMax};
    case FrameType::kFiller:
      return Bounds{.index_max = 0, .length_min = 1, .length_max = kFramePayloadMax};
    case FrameType::kPages:
      return Bounds{.index_max = kSpaceIdMax,
                    .length_min = kRunBytes,
                    .length_max = kPagesPayloadMax,
                    .runs_max = kRunsPerFrame,
                    .codec_max = Codec::kZstd};
    case FrameType::kPageRequest:
      return Bounds{.index_max = kSpaceIdMax,
                    .length_min = kRunBytes,
                    .length_max = kRunsPerFrame * kRunBytes,
                    .runs_max = kRunsPerFrame};
    case FrameType::kMemoryMap:
      return Bounds{.index_max = kSpaceIdMax, .length_min = 0, .length_max = kFramePayloadMax};
    case FrameType::kContent:
      return Bounds{.index_max = kSharedMemoryIndex,
                    .length_min = kInodeBytes + 1,
                    .length_max = kFramePayloadMax,
                    .offset_max = kImageBytesMax};
    case FrameType::kContentZero:
      return Bounds{.index_max = kSharedMemoryIndex,
                    .length_min = 2 * kInodeBytes,
                    .length_max = 2 * kInodeBytes,
                    .offset_max = kImageBytesMax};
    case FrameType::kFileTree:
      return Bounds{.index_max = kSharedMemoryIndex, .length_min = 1, .length_max = kFramePayloadMax};
    case FrameType::kFileTreeEnd:
      return Bounds{.index_max = kSharedMemoryIndex, .length_min = 0, .length_max = 0, .offset_max = kFileTreeBytesMax};
    case FrameType::kObject:
      return Bounds{
          .index_max = kSharedMemoryIndex, .length_min = kInodeBytes, .length_max = kInodeBytes + kObjectNameBytesMax};
    case FrameType::kObjectGone:
      return Bounds{.index_max = kSharedMemoryIndex, .length_min = kInodeBytes, .length_max = kInodeBytes};
    case FrameType::kContentEnd:
      return Bounds{.index_max = kTmpfsMountsMax, .length_min = 0, .length_max = 0};
    case FrameType::kMapsEnd:
      return Bounds{.index_max = kSpacesMax, .length_min = 0, .length_max = 0};
    case FrameType::kSync:
    case FrameType::kFrozen:
    case FrameType::kPagesEnd:
      return Bounds{.index_max = 0, .length_min = 0, .length_max = 0};
  }
  return fail("frame of unknown type " + std::to_string(static_cast<int>(type)));
}

Result<> check_count(const FrameHeader& header, const Bounds& bounds) {
  if (header.count > bounds.runs_max || (bounds.runs_max > 0 && header.count == 0))
    return fail("frame of " + std::to_string(header.count) + " runs");
  if (header.length < header.count * kRunBytes) return fail("frame shorter than its runs");
  if (header.type == FrameType::kPageRequest && header.length != header.count * kRunBytes)
    return fail("request of another length than its runs");
  if (header.codec > bounds.codec_max) return fail("frame packed in an unknown way");
  return {};
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
  put_le(out + kCountAt, header.count);
  out[kCodecAt] = static_cast<char>(header.codec);
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() != kFrameHeaderBytes) return fail("frame header of " + std::to_string(bytes.size()) + " bytes");
  FrameHeader header;
  header.type = static_cast<FrameType>(bytes[kTypeAt]);
  header.index = get_le<uint32_t>(&bytes[kIndexAt]);
  header.offset = get_le<uint64_t>(&bytes[kOffsetAt]);
  header.length = get_le<uint32_t>(&bytes[kLengthAt]);
  header.count = get_le<uint32_t>(&bytes[kCountAt]);
  header.codec = static_cast<Codec>(bytes[kCodecAt]);
  TRY_ASSIGN(const Bounds bounds, bounds_of(header.type));
  if (!unused_are_zero(bytes)) return fail("frame with bits set that version 1.0 does not have");
  if (header.index > bounds.index_max) return fail("frame with index " + std::to_string(header.index));
  if (header.length < bounds.length_min || header.length > bounds.length_max)
    return fail("frame of " + std::to_string(header.length) + " bytes");
  TRY(check_count(header, bounds));
  if (header.offset > bounds.offset_max || (bounds.offset_max > 0 && header.offset > bounds.offset_max - header.length))
    return fail("frame at offset " + std::to_string(header.offset));
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
