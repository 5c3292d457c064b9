// Memory of another process, in pages. Strong types: an address there is never a pointer here.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

namespace godwit {

// x86-64's, the only architecture there is so far.
inline constexpr uint64_t kPageBytes = 4096;
// A page table's worth: the unit in which pages are assigned to streams, and the size of a huge page.
inline constexpr uint64_t kRegionPages = 512;
inline constexpr uint64_t kRegionBytes = kRegionPages * kPageBytes;

// An address in another process.
struct RemoteAddr {
  uint64_t value = 0;

  friend auto operator<=>(const RemoteAddr&, const RemoteAddr&) = default;
  friend RemoteAddr operator+(RemoteAddr address, uint64_t bytes) { return {address.value + bytes}; }
  friend uint64_t operator-(RemoteAddr end, RemoteAddr start) { return end.value - start.value; }
  bool page_aligned() const { return value % kPageBytes == 0; }
  RemoteAddr region() const { return {value - value % kRegionBytes}; }
};

// PAGES pages from START on, which is page-aligned.
struct PageRange {
  RemoteAddr start;
  uint64_t pages = 0;

  RemoteAddr end() const { return start + bytes(); }
  uint64_t bytes() const { return pages * kPageBytes; }
  bool contains(RemoteAddr address) const { return start <= address && address < end(); }
  friend bool operator==(const PageRange&, const PageRange&) = default;
};

// Sorted by address, without overlaps and without neighbours that touch, unless said otherwise.
using PageRanges = std::vector<PageRange>;

// One address space of a container: the pid of the process, in the container's pid namespace, that CRIU knows it by.
// The same on both hosts.
using SpaceId = uint32_t;

}  // namespace godwit
