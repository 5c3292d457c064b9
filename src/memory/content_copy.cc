#include "memory/content_copy.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/identifier.h"
#include "base/page.h"

namespace godwit {

namespace {

constexpr char kZeroPage[kPageBytes] = {};

uint64_t pages_of(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes; }

bool is_zero(const char* page) { return std::memcmp(page, kZeroPage, kPageBytes) == 0; }

}  // namespace

PageKey::PageKey() {
  static_assert(sizeof key_ >= XXH3_SECRET_SIZE_MIN);
  const std::string random = random_bytes(sizeof key_);
  std::memcpy(key_.data(), random.data(), sizeof key_);
}

PageHash PageKey::hash_of(const char* page) const {
  const XXH128_hash_t hash = XXH3_128bits_withSecret(page, kPageBytes, key_.data(), sizeof key_);
  return {hash.low64, hash.high64 | 1};
}

ContentCopy::ContentCopy(const PageKey& key, int file, uint64_t inode, PageHashes& known, ContentSink& sink)
    : key_(key), file_(file), inode_(inode), known_(known), sink_(sink), buffer_(kHashesTogether * kPageBytes, '\0') {}

Result<> ContentCopy::whole(uint64_t size) {
  uint64_t page = 0;  // the next one
  while (page * kPageBytes < size) {
    const off_t data = ::lseek(file_, static_cast<off_t>(page * kPageBytes), SEEK_DATA);
    if (data < 0 && errno != ENXIO) return fail_errno("looking for data in a file");
    if (data < 0 || static_cast<uint64_t>(data) >= size) break;
    const uint64_t begin = static_cast<uint64_t>(data) / kPageBytes;
    TRY(hole(page, begin));
    const off_t hole_at = ::lseek(file_, data, SEEK_HOLE);
    if (hole_at < 0 && errno != ENXIO) return fail_errno("looking for holes in a file");
    const uint64_t end = hole_at < 0 ? begin + 1 : pages_of(std::min(static_cast<uint64_t>(hole_at), size));
    TRY(some(begin, end - begin, size));
    page = end;
  }
  TRY(hole(page, UINT64_MAX));
  std::erase_if(known_, [](const auto& chunk) { return chunk.second == decltype(chunk.second){}; });
  return {};
}

Result<> ContentCopy::some(uint64_t first, uint64_t pages, uint64_t size) {
  const uint64_t file_pages = pages_of(size);
  if (first >= file_pages) return {};
  const uint64_t end = first + std::min(pages, file_pages - first);
  while (first < end) {
    const uint64_t together = std::min(kHashesTogether - first % kHashesTogether, end - first);
    TRY(data_at(first, together, size));
    first += together;
  }
  return {};
}

// Pages FIRST to END are zero.
Result<> ContentCopy::hole(uint64_t first, uint64_t end) {
  for (auto chunk = known_.lower_bound(first / kHashesTogether);
       chunk != known_.end() && chunk->first * kHashesTogether < end; ++chunk) {
    auto& [number, hashes] = *chunk;
    const uint64_t start = number * kHashesTogether;
    const uint64_t to = std::min(end - start, kHashesTogether);
    for (uint64_t i = first > start ? first - start : 0; i < to; ++i) {
      uint64_t run = 0;
      for (; i < to && hashes[i] != PageHash{}; ++i, ++run) hashes[i] = PageHash{};
      if (run > 0) TRY(sink_.zeros(inode_, (start + i - run) * kPageBytes, run * kPageBytes));
    }
  }
  return {};
}

// Pages FIRST and following, all of one entry of known_.
Result<> ContentCopy::data_at(uint64_t first, uint64_t pages, uint64_t size) {
  const uint64_t offset = first * kPageBytes;
  const uint64_t bytes = std::min(pages * kPageBytes, size - offset);
  size_t got = 0;
  while (got < bytes) {
    const ssize_t more = ::pread(file_, buffer_.data() + got, bytes - got, static_cast<off_t>(offset + got));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return fail_errno("reading a file");
    if (more == 0) break;  // it has shrunk
    got += static_cast<size_t>(more);
  }
  std::memset(buffer_.data() + got, 0, pages * kPageBytes - got);
  return send_differing(first, pages);
}

Result<> ContentCopy::send_differing(uint64_t first, uint64_t pages) {
  PageHash* const known = known_[first / kHashesTogether].data() + first % kHashesTogether;
  for (uint64_t i = 0; i < pages;) {
    const char* const page = buffer_.data() + i * kPageBytes;
    uint64_t run = 0;
    while (i + run < pages && differs(page + run * kPageBytes, known[i + run])) ++run;
    if (run > 0) TRY(sink_.content(inode_, (first + i) * kPageBytes, {page, run * kPageBytes}));
    uint64_t zeros = 0;
    for (i += run; i + zeros < pages && is_zero(buffer_.data() + (i + zeros) * kPageBytes);) ++zeros;
    if (zeros > 0) TRY(hole(first + i, first + i + zeros));
    i += std::max<uint64_t>(zeros, run > 0 ? 0 : 1);
  }
  return {};
}

// A page with content that KNOWN is not of; then it is.
bool ContentCopy::differs(const char* page, PageHash& known) const {
  if (is_zero(page)) return false;
  const PageHash hash = key_.hash_of(page);
  return std::exchange(known, hash) != hash;
}

}  // namespace godwit
