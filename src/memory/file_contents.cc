#include "memory/file_contents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/identifier.h"
#include "base/page.h"

namespace godwit {

namespace {

// Longer than a clock tick (10 ms at CONFIG_HZ=100), at whose rate ctime advances before Linux 6.13.
constexpr int64_t kTicksNs = 40'000'000;

constexpr char kZeroPage[kPageBytes] = {};

int64_t nanoseconds(const timespec& time) { return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec; }

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);  // the clock of ctime
  return nanoseconds(now);
}

uint64_t pages_of(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes; }

}  // namespace

// Goes through one file page by page and sends runs of pages that differ.
class FileContents::Copy {
 public:
  Copy(const FileContents& contents, int file, uint64_t inode, PageHashes& known, ContentSink& sink)
      : contents_(contents),
        file_(file),
        inode_(inode),
        known_(known),
        sink_(sink),
        buffer_(kHashesTogether * kPageBytes, '\0') {}

  Result<> run(uint64_t size) {
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
      for (page = begin; page < end;) {
        const uint64_t together = std::min(kHashesTogether - page % kHashesTogether, end - page);
        TRY(data_at(page, together, size));
        page += together;
      }
    }
    TRY(hole(page, UINT64_MAX));
    std::erase_if(known_, [](const auto& chunk) { return chunk.second == decltype(chunk.second){}; });
    return {};
  }

 private:
  // Pages FIRST to END are zero.
  Result<> hole(uint64_t first, uint64_t end) {
    for (auto chunk = known_.lower_bound(first / kHashesTogether);
         chunk != known_.end() && chunk->first * kHashesTogether < end; ++chunk) {
      auto& [number, hashes] = *chunk;
      const uint64_t start = number * kHashesTogether;
      const uint64_t to = std::min(end - start, kHashesTogether);
      for (uint64_t i = first > start ? first - start : 0; i < to; ++i) {
        uint64_t run = 0;
        for (; i < to && hashes[i] != Hash{}; ++i, ++run) hashes[i] = Hash{};
        if (run > 0) TRY(sink_.zeros(inode_, (start + i - run) * kPageBytes, run * kPageBytes));
      }
    }
    return {};
  }

  // Pages FIRST and following, all of one entry of known_.
  Result<> data_at(uint64_t first, uint64_t pages, uint64_t size) {
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

  Result<> send_differing(uint64_t first, uint64_t pages) {
    Hash* const known = known_[first / kHashesTogether].data() + first % kHashesTogether;
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

  static bool is_zero(const char* page) { return std::memcmp(page, kZeroPage, kPageBytes) == 0; }

  // A page with content that KNOWN is not of; then it is.
  bool differs(const char* page, Hash& known) const {
    if (is_zero(page)) return false;
    const Hash hash = contents_hash(page);
    return std::exchange(known, hash) != hash;
  }

  Hash contents_hash(const char* page) const {
    const XXH128_hash_t hash = XXH3_128bits_withSecret(page, kPageBytes, contents_.key_.data(), sizeof contents_.key_);
    return {hash.low64, hash.high64 | 1};  // never that of zeros
  }

  const FileContents& contents_;
  const int file_;
  const uint64_t inode_;
  PageHashes& known_;
  ContentSink& sink_;
  std::string buffer_;
};

FileContents::FileContents(ScopedFd root) : root_(std::move(root)) {
  static_assert(sizeof key_ >= XXH3_SECRET_SIZE_MIN);
  const std::string random = random_bytes(sizeof key_);
  std::memcpy(key_.data(), random.data(), sizeof key_);
}

Result<std::unique_ptr<FileContents>> FileContents::create(ScopedFd root) {
  std::unique_ptr<FileContents> contents(new FileContents(std::move(root)));
  if (auto watch = FileWatch::start(contents->root_.get()); watch) contents->watch_.emplace(std::move(*watch));
  return contents;
}

// Files that an open file which might write has ended for may have changed after they were read.
Result<> FileContents::note_ends() {
  if (!watch_) return {};
  TRY_ASSIGN(const FileWatch::Ends ends, watch_->take());
  if (ends.all) {
    for (auto& [inode, file] : files_) file.settled = false;
    return {};
  }
  for (const uint64_t inode : ends.inodes)
    if (auto file = files_.find(inode); file != files_.end()) file->second.settled = false;
  return {};
}

Result<> FileContents::send_changes(ContentSink& sink, const std::set<uint64_t>& mapped) {
  TRY(note_ends());
  TRY_ASSIGN(const peer::FileTree tree, read_file_tree(root_.get()));
  std::set<uint64_t> seen;
  for (const peer::FileEntry& entry : tree.entries()) {
    if (!S_ISREG(entry.mode()) || !seen.insert(entry.inode()).second) continue;
    TRY(look(entry.path(), entry.inode(), true, mapped.contains(entry.inode()), sink));
  }
  std::erase_if(files_, [&](const auto& file) { return !seen.contains(file.first); });
  return {};
}

// Reads the file if it may differ from what has been sent. False: it was left out.
Result<bool> FileContents::look(const std::string& path, uint64_t inode, bool runs, bool always, ContentSink& sink) {
  auto file = open_below(root_.get(), path, O_RDONLY | O_NOATIME);
  struct stat facts{};
  if (file && ::fstat(file->get(), &facts) != 0) return fail_errno("fstat of a file");
  if (!file || facts.st_ino != inode || !S_ISREG(facts.st_mode)) {
    if (runs) return false;
    return file ? fail("a file has changed in the freeze") : fail(std::move(file.error()));
  }
  File& known = files_[inode];
  const int64_t ctime_ns = nanoseconds(facts.st_ctim);
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (!always && watch_ && known.settled && known.ctime_ns == ctime_ns && known.size == size) return true;
  known.settled = ctime_ns < now_ns() - kTicksNs;
  known.ctime_ns = ctime_ns;
  known.size = size;
  TRY(Copy(*this, file->get(), inode, known.pages, sink).run(size));
  return true;
}

Result<peer::FileTree> FileContents::send_last_changes(ContentSink& sink) {
  TRY_ASSIGN(peer::FileTree tree, read_file_tree(root_.get()));
  std::map<uint64_t, bool> open;
  for (peer::FileEntry& entry : *tree.mutable_entries()) {
    if (!S_ISREG(entry.mode())) continue;
    auto [known, fresh] = open.try_emplace(entry.inode(), false);
    if (fresh) {
      TRY_ASSIGN(const ScopedFd file, open_below(root_.get(), entry.path(), O_RDONLY | O_NOATIME));
      known->second = is_open_for_writing(file.get());
      if (known->second) open_.emplace_back(entry.inode(), entry.path());
    }
    entry.set_open_for_writing(known->second);
  }
  // After the question whether they are open: an end is told of before it is counted.
  TRY(note_ends());
  std::set<uint64_t> seen;
  for (const peer::FileEntry& entry : tree.entries())
    if (S_ISREG(entry.mode()) && !entry.open_for_writing() && seen.insert(entry.inode()).second)
      TRY(look(entry.path(), entry.inode(), false, false, sink));
  return tree;
}

Result<> FileContents::send_open_files(ContentSink& sink) {
  for (const auto& [inode, path] : open_) TRY(look(path, inode, false, true, sink));
  return {};
}

}  // namespace godwit
