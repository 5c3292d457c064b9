// Sends of a file what the target does not have: of every page a keyed hash is remembered as it was sent, and what
// differs is sent again. A torn or stale copy of a page differs from what is there when the container stands still.
//
// 16 bytes for each page are kept, 4 MiB for a gigabyte.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

// Where pages of a file go. OFFSET and length are whole pages; what a file's last page has behind its end is zero.
class ContentSink {
 public:
  virtual ~ContentSink() = default;
  virtual Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) = 0;
  virtual Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes) = 0;
};

using PageHash = std::array<uint64_t, 2>;  // that of a page of zeros is zero

// Of the hash, random: a container must not be able to make collisions.
class PageKey {
 public:
  PageKey();
  PageHash hash_of(const char* page) const;  // never that of zeros

 private:
  std::array<uint64_t, 24> key_;
};

// By number of the page divided by their count: a file may be all hole, and of any size.
inline constexpr uint64_t kHashesTogether = 128;
using PageHashes = std::map<uint64_t, std::array<PageHash, kHashesTogether>>;

// Of one file. FILE is borrowed; KNOWN is of what the target has, and is brought up to date.
class ContentCopy {
 public:
  ContentCopy(const PageKey& key, int file, uint64_t inode, PageHashes& known, ContentSink& sink);
  // All of it; SIZE is the file's.
  Result<> whole(uint64_t size);
  // PAGES pages from number FIRST on, as far as the file goes.
  Result<> some(uint64_t first, uint64_t pages, uint64_t size);

 private:
  Result<> hole(uint64_t first, uint64_t end);
  Result<> data_at(uint64_t first, uint64_t pages, uint64_t size);
  Result<> send_differing(uint64_t first, uint64_t pages);
  bool differs(const char* page, PageHash& known) const;

  const PageKey& key_;
  const int file_;
  const uint64_t inode_;
  PageHashes& known_;
  ContentSink& sink_;
  std::string buffer_;
};

}  // namespace godwit
