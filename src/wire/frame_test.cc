#include "wire/frame.h"

#include <gtest/gtest.h>

#include "base/identifier.h"

namespace godwit::wire {
namespace {

std::string encoded(const FrameHeader& header) {
  std::string bytes(kFrameHeaderBytes, 'x');
  encode_frame_header(header, bytes.data());
  return bytes;
}

TEST(FrameHeader, LayoutIsTheOneInTheSpecification) {
  std::string bytes = encoded({FrameType::kFileData, 0x01020304, 0x0000001122334455, 0x00080706});
  EXPECT_EQ(bytes, std::string("\x02\0\0\0"
                               "\x04\x03\x02\x01"
                               "\x55\x44\x33\x22\x11\0\0\0"
                               "\x06\x07\x08\0"
                               "\0\0\0\0\0\0\0\0\0\0\0\0",
                               32));
}

TEST(FrameHeader, ArrivesAsSentAtEveryLimit) {
  for (const FrameHeader& header : {
           FrameHeader{FrameType::kFileBegin, kImageFilesMax - 1, 0, kImageNameBytesMax},
           FrameHeader{FrameType::kFileData, 0, kImageBytesMax - kFramePayloadMax, kFramePayloadMax},
           FrameHeader{FrameType::kFileEnd, 7, kImageBytesMax, 0},
           FrameHeader{FrameType::kImagesEnd, kImageFilesMax, kImageBytesMax, 0},
           FrameHeader{FrameType::kFiller, 0, 0, kFramePayloadMax},
           FrameHeader{FrameType::kPages, kSpaceIdMax, 0, kPagesPayloadMax, kRunsPerFrame, Codec::kZstd},
           FrameHeader{FrameType::kPageRequest, 1, 0, kRunsPerFrame * kRunBytes, kRunsPerFrame},
           FrameHeader{FrameType::kMemoryMap, 1, 0, kFramePayloadMax},
           FrameHeader{FrameType::kSync},
           FrameHeader{FrameType::kMapsEnd, kSpacesMax},
           FrameHeader{FrameType::kFrozen},
           FrameHeader{FrameType::kPagesEnd},
           FrameHeader{FrameType::kContent, kTmpfsMountsMax - 1, kImageBytesMax - kFramePayloadMax, kFramePayloadMax},
           FrameHeader{FrameType::kContentZero, 0, 4096, 2 * kInodeBytes},
           FrameHeader{FrameType::kFileTree, 0, 0, kFramePayloadMax},
           FrameHeader{FrameType::kFileTreeEnd, 0, kFileTreeBytesMax},
           FrameHeader{FrameType::kContentEnd, kTmpfsMountsMax},
           FrameHeader{FrameType::kContent, kSharedMemoryIndex, 0, kInodeBytes + 4096},
           FrameHeader{FrameType::kObject, kSharedMemoryIndex, 0, kInodeBytes},
           FrameHeader{FrameType::kObject, kSharedMemoryIndex, 0, kInodeBytes + kObjectNameBytesMax},
           FrameHeader{FrameType::kObjectGone, kSharedMemoryIndex, 0, kInodeBytes},
       }) {
    auto decoded = decode_frame_header(encoded(header));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, header);
  }
}

TEST(FrameHeader, BeyondAnyLimitIsAnError) {
  for (const FrameHeader& header : {
           FrameHeader{FrameType::kFileBegin, kImageFilesMax, 0, 1},
           FrameHeader{FrameType::kFiller, 0, 0, kFramePayloadMax + 1},
           FrameHeader{FrameType::kFiller, 1, 0, 1},
           FrameHeader{FrameType::kFileBegin, 0, 1, 1},
           FrameHeader{FrameType::kFileBegin, 0, 0, 0},
           FrameHeader{FrameType::kFileBegin, 0, 0, kImageNameBytesMax + 1},
           FrameHeader{FrameType::kFileData, 0, 0, 0},
           FrameHeader{FrameType::kFileData, 0, 0, kFramePayloadMax + 1},
           FrameHeader{FrameType::kFileData, 0, 0, UINT32_MAX},
           FrameHeader{FrameType::kFileData, 0, kImageBytesMax, 1},
           FrameHeader{FrameType::kFileData, 0, UINT64_MAX, 1},
           FrameHeader{FrameType::kFileEnd, 0, 0, 1},
           FrameHeader{FrameType::kFileEnd, 0, kImageBytesMax + 1, 0},
           FrameHeader{FrameType::kImagesEnd, kImageFilesMax + 1, 0, 0},
           FrameHeader{FrameType::kContent, kSharedMemoryIndex + 1, 0, 4096},
           FrameHeader{FrameType::kContent, 0, 0, kInodeBytes},
           FrameHeader{FrameType::kContentZero, 0, 0, kInodeBytes},
           FrameHeader{FrameType::kFileTree, kSharedMemoryIndex + 1, 0, 1},
           FrameHeader{FrameType::kFileTreeEnd, 0, kFileTreeBytesMax + 1},
           FrameHeader{FrameType::kContentEnd, kTmpfsMountsMax + 1},
           FrameHeader{FrameType::kObject, kSharedMemoryIndex, 0, kInodeBytes + kObjectNameBytesMax + 1},
           FrameHeader{FrameType::kObjectGone, kSharedMemoryIndex, 0, kInodeBytes + 1},
           FrameHeader{FrameType{0}, 0, 0, 0},
           FrameHeader{FrameType{15}, 0, 0, 0},
           FrameHeader{FrameType{23}, 0, 0, 0},
           FrameHeader{FrameType::kFileData, 0, 0, 4096, 1},
           FrameHeader{FrameType::kFileData, 0, 0, 4096, 0, Codec::kLz4},
           FrameHeader{FrameType::kPages, 1, 0, kRunBytes, 0},
           FrameHeader{FrameType::kPages, 1, 0, kRunBytes, 2},
           FrameHeader{FrameType::kPages, 1, 4096, kRunBytes, 1},
           FrameHeader{FrameType::kPages, 1, 0, kPagesPayloadMax, kRunsPerFrame + 1},
           FrameHeader{FrameType::kPages, 1, 0, kPagesPayloadMax + 1, kRunsPerFrame},
           FrameHeader{FrameType::kPages, kSpaceIdMax + 1, 0, kRunBytes, 1},
           FrameHeader{FrameType::kPages, 1, 0, 4096, 1, Codec{3}},
           FrameHeader{FrameType::kPageRequest, 1, 0, kRunBytes + 1, 1},
           FrameHeader{FrameType::kPageRequest, 1, 0, kRunBytes, 1, Codec::kLz4},
           FrameHeader{FrameType::kMemoryMap, 1, 0, kFramePayloadMax + 1},
           FrameHeader{FrameType::kMapsEnd, kSpacesMax + 1},
           FrameHeader{FrameType::kSync, 1},
           FrameHeader{FrameType::kFrozen, 1},
           FrameHeader{FrameType{255}, 0, 0, 0},
       })
    EXPECT_FALSE(decode_frame_header(encoded(header)))
        << static_cast<int>(header.type) << ' ' << header.index << ' ' << header.length;
}

TEST(FrameHeader, BitsOfLaterVersionsAreAnError) {
  const std::string good = encoded({FrameType::kFileData, 1, 4096, 4096});
  for (size_t at : {1, 2, 3, 20, 21, 22, 23, 24, 31}) {
    std::string bytes = good;
    bytes[at] = 1;
    EXPECT_FALSE(decode_frame_header(bytes)) << at;
  }
}

TEST(FrameHeader, EveryTruncationIsAnError) {
  const std::string good = encoded({FrameType::kFileData, 1, 4096, 4096});
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(decode_frame_header(good.substr(0, length))) << length;
}

TEST(FrameHeader, RandomBytesNeverDecodeOutOfBounds) {
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = random_bytes(kFrameHeaderBytes);
    bytes[0] = static_cast<char>(1 + i % 5);
    for (size_t at : {1, 2, 3, 6, 7, 14, 15, 19}) bytes[at] = 0;
    bytes.replace(20, 12, 12, '\0');
    auto header = decode_frame_header(bytes);
    if (!header) continue;
    EXPECT_LE(header->length, kPagesPayloadMax);
    EXPECT_LE(header->index, kImageFilesMax);
    EXPECT_LE(header->offset + header->length, kImageBytesMax);
  }
}

TEST(ImageName, CriusNamesAreAccepted) {
  for (const char* good : {"core-1.img", "pages-1.img", "tmpfs-dev-71.tar.gz.img", "a", "X_9"})
    EXPECT_TRUE(check_image_name(good)) << good;
  EXPECT_TRUE(check_image_name(std::string(kImageNameBytesMax, 'n')));
}

TEST(ImageName, NamesThatCouldLeaveTheDirectoryAreRefused) {
  for (std::string_view bad : {std::string_view(""), std::string_view("."), std::string_view(".."),
                               std::string_view(".hidden"), std::string_view("a/b"), std::string_view("/etc"),
                               std::string_view("a\0b", 3), std::string_view("a b"), std::string_view("\xc3\xa4")})
    EXPECT_FALSE(check_image_name(bad)) << bad;
  EXPECT_FALSE(check_image_name(std::string(kImageNameBytesMax + 1, 'n')));
}

}  // namespace
}  // namespace godwit::wire
