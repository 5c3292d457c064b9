// Frames: what a data connection carries after its Hello (hello.h). A frame is a header of 32 bytes
// and `length` bytes of payload. All integers are little-endian.
//
//   0 u8 type   1 u8 codec   2 u16 zero   4 u32 index   8 u64 offset   16 u32 length   20 u32 count
//   24 u64 zero
//
// Image files. Each file is opened, filled from front to back and ended; several files may be open at once and their
// frames interleaved:
//
//   FileBegin   index = number of the file, counted from 0 in order of FileBegin; payload = its
//   name FileData    index; offset = where the payload belongs = bytes of this file sent so far
//   FileEnd     index; offset = size of the file
//   SmallFilesEnd  index = number of files ended; all files but those of memory (pages-N.img) are there,
//                  so that a restore can begin while memory is still on its way
//   ImagesEnd   index = number of files, all ended; offset = bytes of all files; the last image
//   frame
//   Filler      payload = nothing that matters. Before the freeze, over a long way: TCP sends as much at once as it has
//               been used to, so what comes in the freeze finds the way open (minor 1)
//
// Memory, on connections of its own (channels 1 to N; all pages of one 2 MiB region on the same one, so that a later
// copy of a page never arrives before an earlier one) and, as answers to PageRequest, on channel N+1:
//
//   Pages       index = address space; count = runs; payload = the runs (page_runs.h), then the contents of those that
//               are not zero, one after the other, together at most kPagesPerFrame pages; compressed as a whole if
//               codec says so
//   Sync        the target answers with the same once it has taken all that came before: at the end of each round, and
//               where the source measures what packing is worth
//   Frozen      the container stands still: pages that follow are owed ones. On channel 1 the maps come next
//   MemoryMap   index = address space; payload = part of its map (memory/memory_map.h), in order of address,
//               empty if the space has no content at all
//   MapsEnd     index = number of address spaces that have a map
//   PagesEnd    no page is owed on this channel any more
//   PageRequest target to source, channel N+1: index = address space; count = runs; payload = runs of owed pages that
//               the container waits for
//
// Files of tmpfs mounts, on a connection of their own (kFilesChannel). index = number of the mount in Prepare:
//
//   Content     offset = place in the file; payload = u64 inode number, then whole pages of its content
//   ContentZero the same, but of zeros: payload = u64 inode number, u64 bytes, whole pages
//   FileTree    payload = part of the mount's peer.FileTree. The container stands still; content that comes after the
//               tree is of files that were open for writing
//   FileTreeEnd the tree is complete; offset = its bytes
//   ContentEnd  index = number of mounts; all is here
//
// Shared memory goes among them, if Prepare and its answer say so, with index = kSharedMemoryIndex and the objects'
// inode numbers: Content and ContentZero, FileTree and FileTreeEnd (a peer.SharedMemory), and
//
//   Object      before its content; payload = u64 inode number, then its name
//   ObjectGone  the container has it no longer; payload = u64 inode number
//
// An unknown type, and anything but zero where zero is asked for, is an error: a sender uses only
// what the lower minor version of both sides has. A receiver closes the connection on any error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit::wire {

inline constexpr size_t kFrameHeaderBytes = 32;

// Large enough that headers and system calls do not show in throughput; small enough to buffer per
// connection.
inline constexpr uint32_t kFramePayloadMax = uint32_t{1} << 20;

// Of one Pages or PageRequest frame: as many runs as pages fit, and room for some runs of zeros.
inline constexpr uint32_t kPagesPerFrame = 256;
inline constexpr uint32_t kRunsPerFrame = 512;
inline constexpr uint32_t kRunBytes = 16;
inline constexpr uint32_t kPagesPayloadMax = kFramePayloadMax + kRunsPerFrame * kRunBytes;

// A pid of the kernel's (PID_MAX_LIMIT, 2^22); processes of one container.
inline constexpr uint32_t kSpaceIdMax = uint32_t{1} << 22;
inline constexpr uint32_t kSpacesMax = uint32_t{1} << 16;

inline constexpr uint16_t kFilesChannel = 63;  // the last one, wire/hello.h
inline constexpr uint32_t kTmpfsMountsMax = 64;
inline constexpr uint32_t kSharedMemoryIndex = kTmpfsMountsMax;
inline constexpr uint32_t kInodeBytes = 8;
inline constexpr uint32_t kObjectNameBytesMax = 249;  // the kernel's of a memfd
inline constexpr uint64_t kFileTreeBytesMax = uint64_t{64} << 20;

// CRIU writes one for each TCP connection; a port has no more.
inline constexpr uint32_t kImageFilesMax = uint32_t{1} << 16;
inline constexpr size_t kImageNameBytesMax = 128;
inline constexpr uint64_t kFillerBytesMax = uint64_t{16} << 20;  // of a connection
// 1 TiB, for one file and for all: no sum of offset and length can overflow.
inline constexpr uint64_t kImageBytesMax = uint64_t{1} << 40;

enum class FrameType : uint8_t {
  kFileBegin = 1,
  kFileData = 2,
  kFileEnd = 3,
  kImagesEnd = 4,
  kSmallFilesEnd = 5,
  kFiller = 6,
  kPages = 16,
  kSync = 17,
  kFrozen = 18,
  kMemoryMap = 19,
  kMapsEnd = 20,
  kPagesEnd = 21,
  kPageRequest = 22,
  kContent = 32,
  kContentZero = 33,
  kFileTree = 34,
  kFileTreeEnd = 35,
  kContentEnd = 36,
  kObject = 37,
  kObjectGone = 38,
};

// How the contents of a Pages frame are packed.
enum class Codec : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };

struct FrameHeader {
  FrameType type = FrameType::kFileBegin;
  uint32_t index = 0;
  uint64_t offset = 0;
  uint32_t length = 0;  // of the payload that follows
  uint32_t count = 0;   // runs, in Pages and PageRequest
  Codec codec = Codec::kNone;

  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

// Writes kFrameHeaderBytes to OUT.
void encode_frame_header(const FrameHeader& header, char* out);

// BYTES is exactly kFrameHeaderBytes. The result is within every bound above and has the length its
// type allows, so LENGTH may be allocated and read. It says nothing about the order of frames.
Result<FrameHeader> decode_frame_header(std::string_view bytes);

// What CRIU and godwit call image files: letters, digits and . _ - ; no leading dot; at most
// kImageNameBytesMax. Such a name is a single path component.
Result<> check_image_name(std::string_view name);

}  // namespace godwit::wire
