// A page that says itself whether it is the one that was written last. It holds the address it was written at, a count
// of its writes, contents derived from both, and a checksum over everything; whoever knows the count it must have can
// tell a page that is lost (zeros), torn (parts of two writes), stale or doubled (another page's) from the right one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace godwit::workloads {

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kPageWords = kPageBytes / sizeof(uint64_t);

struct CheckedPage {
  uint64_t words[kPageWords];  // address, count, contents, checksum
};
static_assert(sizeof(CheckedPage) == kPageBytes);

inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// ADDRESS: where the page lives, or any number that no other page has.
inline void write_page(CheckedPage& page, uint64_t address, uint64_t count) {
  const uint64_t step = mixed(address * 0x9e3779b97f4a7c15U + count) | 1;
  uint64_t sum = address + count;
  page.words[0] = address;
  page.words[1] = count;
  for (size_t i = 2; i + 1 < kPageWords; ++i) {
    page.words[i] = step * i;
    sum += page.words[i] ^ i;
  }
  page.words[kPageWords - 1] = sum;
}

inline bool page_holds(const CheckedPage& page, uint64_t address, uint64_t count) {
  const uint64_t step = mixed(address * 0x9e3779b97f4a7c15U + count) | 1;
  uint64_t sum = address + count;
  uint64_t wrong = (page.words[0] ^ address) | (page.words[1] ^ count);
  for (size_t i = 2; i + 1 < kPageWords; ++i) {
    wrong |= page.words[i] ^ (step * i);
    sum += page.words[i] ^ i;
  }
  return (wrong | (page.words[kPageWords - 1] ^ sum)) == 0;
}

inline bool page_is_zero(const CheckedPage& page) {
  uint64_t any = 0;
  for (uint64_t word : page.words) any |= word;
  return any == 0;
}

// Why a page is not the expected one.
inline std::string page_fault(const CheckedPage& page, uint64_t address, uint64_t count) {
  const std::string counts = " count " + std::to_string(page.words[1]) + " expected " + std::to_string(count);
  if (page_is_zero(page)) return "lost:" + counts;
  if (!page_holds(page, page.words[0], page.words[1])) return "torn:" + counts;
  if (page.words[0] != address) return "doubled: page of address " + std::to_string(page.words[0]) + counts;
  return (page.words[1] < count ? "stale:" : "of a later time:") + counts;
}

}  // namespace godwit::workloads
