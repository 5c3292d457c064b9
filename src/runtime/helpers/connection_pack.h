// All small images of TCP connections in one file, "tcp-streams.img". CRIU makes a file for each connection, which for
// ten thousand connections takes it, and whoever sends and writes those files, longer than what is in them. The lens
// writes the pack in CRIU's place; on the target mends.so reads from it in CRIU's place, and where that
// cannot be preloaded the agent makes the files (runtime/connection_images.h).
//
// The file: kPackMagic, the number of bytes that follow the header, and records: the number in the file's name, its
// size, its bytes. Native byte order, nothing is aligned. A record that is being written lies behind the others and is
// not counted yet. Images of more than kPackedBytesMax, of connections with full queues, are files of their own.
//
// Plain C, as lens.cc.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace godwit_pack {

inline constexpr char kPackName[] = "tcp-streams.img";
inline constexpr char kPackMagic[] = "godwit-tcp-1";  // without its zero byte, of which there is no need
inline constexpr size_t kPackMagicBytes = sizeof kPackMagic - 1;
inline constexpr size_t kPackHeaderBytes = kPackMagicBytes + sizeof(uint64_t);
inline constexpr size_t kRecordHeaderBytes = 2 * sizeof(uint32_t);
// What CRIU writes at once: an image without queues has some 100 bytes.
inline constexpr size_t kPackedBytesMax = 4096;
inline constexpr size_t kRecordsMax = size_t{1} << 20;

struct Record {
  uint32_t id;
  uint32_t length;
  uint64_t offset;  // of its bytes in the file
};

// The number in NAME, "tcp-stream-2a.img"; false for other names.
inline bool connection_id(const char* name, uint32_t* id) {
  constexpr char kPrefix[] = "tcp-stream-", kDigits[] = "0123456789abcdef";
  constexpr size_t kPrefixBytes = sizeof kPrefix - 1, kDigitsMax = 8;
  if (strncmp(name, kPrefix, kPrefixBytes) != 0) return false;
  const char* at = name + kPrefixBytes;
  const size_t digits = strspn(at, kDigits);
  if (digits == 0 || digits > kDigitsMax || (at[0] == '0' && digits > 1) || strcmp(at + digits, ".img") != 0)
    return false;
  *id = static_cast<uint32_t>(strtoul(at, nullptr, 16));
  return true;
}

// Calls TAKE for each record of the SIZE bytes of PACK, which come from a peer. False where they are no pack; then
// some may have been taken.
template <typename Take>
bool each_record(const char* pack, size_t size, Take take) {
  uint64_t used = 0;
  if (size < kPackHeaderBytes || memcmp(pack, kPackMagic, kPackMagicBytes) != 0) return false;
  memcpy(&used, pack + kPackMagicBytes, sizeof used);
  if (used > size - kPackHeaderBytes) return false;
  const size_t end = kPackHeaderBytes + used;
  size_t count = 0;
  for (size_t at = kPackHeaderBytes; at < end;) {
    uint32_t numbers[2];
    if (end - at < sizeof numbers || ++count > kRecordsMax) return false;
    memcpy(numbers, pack + at, sizeof numbers);
    at += sizeof numbers;
    if (numbers[1] > kPackedBytesMax || numbers[1] > end - at) return false;
    take(Record{numbers[0], numbers[1], at});
    at += numbers[1];
  }
  return true;
}

inline int by_id(const void* a, const void* b) {
  const uint32_t first = static_cast<const Record*>(a)->id, second = static_cast<const Record*>(b)->id;
  return first < second ? -1 : first > second ? 1 : 0;
}

// The records of PACK, sorted, to be freed; null if it is none, or a connection is in it twice.
inline Record* sorted_records(const char* pack, size_t size, size_t* count) {
  size_t records = 0;
  if (!each_record(pack, size, [&](const Record&) { ++records; })) return nullptr;
  auto* list = static_cast<Record*>(malloc((records + 1) * sizeof(Record)));
  if (list == nullptr) return nullptr;
  size_t at = 0;
  each_record(pack, size, [&](const Record& record) { list[at++] = record; });
  qsort(list, records, sizeof(Record), by_id);
  for (size_t i = 1; i < records; ++i) {
    if (list[i - 1].id != list[i].id) continue;
    free(list);
    return nullptr;
  }
  *count = records;
  return list;
}

}  // namespace godwit_pack
