#include "memory/memory_map.h"

#include <algorithm>
#include <map>

#include "memory/region_bits.h"
#include "wire/frame.h"
#include "wire/little_endian.h"

namespace godwit {

namespace {

constexpr size_t kAddressAt = 0, kRegionsAt = 8, kKindAt = 12, kEntryBytes = 16;
constexpr size_t kBitsBytes = kRegionPages / 8;
constexpr uint32_t kPartly = 0, kKept = 1, kOwed = 2;
constexpr uint64_t kUserEnd = uint64_t{1} << 56;

std::vector<RegionMap> regions_of(const PageRanges& populated, const PageRanges& owed) {
  std::vector<RegionMap> maps;
  for_each_region(populated, [&](RemoteAddr start, const RegionBits& bits) {
    if (maps.empty() || maps.back().start != start) maps.push_back({.start = start, .present = {}, .owed = {}});
    maps.back().present |= bits;
  });
  auto at = maps.begin();
  for_each_region(owed, [&](RemoteAddr start, const RegionBits& bits) {
    while (at != maps.end() && at->start < start) ++at;
    if (at != maps.end() && at->start == start) at->owed |= bits & at->present;
  });
  return maps;
}

uint32_t kind_of(const RegionMap& map) {
  if (!map.present.all()) return kPartly;
  if (map.owed.none()) return kKept;
  return map.owed.all() ? kOwed : kPartly;
}

void append_bits(const RegionBits& bits, std::string& out) {
  char bytes[kBitsBytes];
  for (size_t word = 0; word < kBitsBytes / 8; ++word)
    wire::put_le(bytes + word * 8, uint64_t{(bits >> (word * 64) & RegionBits(UINT64_MAX)).to_ullong()});
  out.append(bytes, sizeof bytes);
}

RegionBits bits_of(const char* bytes) {
  RegionBits bits;
  for (size_t word = 0; word < kBitsBytes / 8; ++word)
    bits |= RegionBits(wire::get_le<uint64_t>(bytes + word * 8)) << (word * 64);
  return bits;
}

void append_entry(RemoteAddr start, uint32_t regions, uint32_t kind, std::string& out) {
  char bytes[kEntryBytes];
  wire::put_le(bytes + kAddressAt, start.value);
  wire::put_le(bytes + kRegionsAt, regions);
  wire::put_le(bytes + kKindAt, kind);
  out.append(bytes, sizeof bytes);
}

struct Entry {
  RemoteAddr start;
  uint32_t regions;
  uint32_t kind;
};

Result<Entry> decode_entry(std::string_view bytes) {
  const Entry entry{{wire::get_le<uint64_t>(bytes.data() + kAddressAt)},
                    wire::get_le<uint32_t>(bytes.data() + kRegionsAt),
                    wire::get_le<uint32_t>(bytes.data() + kKindAt)};
  if (entry.start.value % kRegionBytes != 0 || entry.start.value >= kUserEnd) return fail("a region at an odd address");
  if (entry.regions == 0 || entry.regions > (kUserEnd - entry.start.value) / kRegionBytes)
    return fail("regions beyond the end of memory");
  if (entry.kind > kOwed || (entry.kind == kPartly && entry.regions != 1)) return fail("regions of an unknown kind");
  return entry;
}

}  // namespace

std::vector<std::string> encode_memory_map(const PageRanges& populated, const PageRanges& owed) {
  std::vector<std::string> payloads(1);
  const std::vector<RegionMap> maps = regions_of(populated, owed);
  for (size_t i = 0; i < maps.size();) {
    if (payloads.back().size() + kEntryBytes + 2 * kBitsBytes > wire::kFramePayloadMax) payloads.emplace_back();
    const uint32_t kind = kind_of(maps[i]);
    size_t end = i + 1;
    while (kind != kPartly && end < maps.size() && kind_of(maps[end]) == kind &&
           maps[end].start - maps[i].start == (end - i) * kRegionBytes)
      ++end;
    append_entry(maps[i].start, static_cast<uint32_t>(end - i), kind, payloads.back());
    if (kind == kPartly) {
      append_bits(maps[i].present, payloads.back());
      append_bits(maps[i].owed, payloads.back());
    }
    i = end;
  }
  if (payloads.back().empty()) payloads.pop_back();
  return payloads;
}

Result<> decode_memory_map(std::string_view payload, uint64_t regions_max, std::vector<RegionMap>& maps) {
  while (!payload.empty()) {
    if (payload.size() < kEntryBytes) return fail("a memory map that ends within an entry");
    TRY_ASSIGN(const Entry entry, decode_entry(payload));
    payload.remove_prefix(kEntryBytes);
    if (!maps.empty() && entry.start <= maps.back().start) return fail("a memory map out of order");
    if (maps.size() + entry.regions > regions_max) return fail("a memory map of too many regions");
    if (entry.kind == kPartly) {
      if (payload.size() < 2 * kBitsBytes) return fail("a memory map that ends within an entry");
      RegionMap map{
          .start = entry.start, .present = bits_of(payload.data()), .owed = bits_of(payload.data() + kBitsBytes)};
      if ((map.owed & ~map.present).any()) return fail("a memory map with owed pages that have no content");
      maps.push_back(map);
      payload.remove_prefix(2 * kBitsBytes);
      continue;
    }
    const RegionBits all = ~RegionBits();
    for (uint32_t i = 0; i < entry.regions; ++i)
      maps.push_back(
          {.start = entry.start + i * kRegionBytes, .present = all, .owed = entry.kind == kOwed ? all : RegionBits()});
  }
  return {};
}

}  // namespace godwit
