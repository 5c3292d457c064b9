// What the regular files of a tmpfs mount hold, on the source: which pages of them the target does not have yet.
//
// Files are known by inode number. Of each, a keyed hash of every page is remembered as it was sent, so that looking at
// a file again sends only what differs; a torn or stale copy of a page differs from what is there when the container
// stands still, and is sent again. What is not looked at again in the freeze are files that cannot have changed since
// they were last read: no open file that may write existed since then (kernel/file_watch.h argues it), and size and
// ctime, which truncate(2) changes, are the same. A ctime is believed only if it was older than a clock tick when the
// file was read. If the file system cannot be watched, every file is read again.
//
// 16 bytes for each page are kept, 4 MiB for a gigabyte.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/file_watch.h"
#include "memory/file_tree.h"

namespace godwit {

// Where pages of a file go. OFFSET and length are whole pages; what a file's last page has behind its end is zero.
class ContentSink {
 public:
  virtual ~ContentSink() = default;
  virtual Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) = 0;
  virtual Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes) = 0;
};

class FileContents {
 public:
  // ROOT: a mount's own directory, see clone_tmpfs_mounts. The file system is watched from now on.
  static Result<std::unique_ptr<FileContents>> create(ScopedFd root);

  // The container runs. Sends what the target does not have; MAPPED are inode numbers of files that may be written
  // unseen, and are read whatever their times say. Files that vanish meanwhile are left out.
  Result<> send_changes(ContentSink& sink, const std::set<uint64_t>& mapped);

  // The container stands still. Returns all files there are, when the content of those that are not open for writing
  // has been sent.
  Result<peer::FileTree> send_last_changes(ContentSink& sink);
  // Then what is left: the content of files that are open for writing.
  Result<> send_open_files(ContentSink& sink);

  bool watched() const { return watch_.has_value(); }

 private:
  using Hash = std::array<uint64_t, 2>;  // of a page; that of a page of zeros is zero
  // By number of the page divided by their count: a file may be all hole, and of any size.
  static constexpr uint64_t kHashesTogether = 128;
  using PageHashes = std::map<uint64_t, std::array<Hash, kHashesTogether>>;
  struct File {
    int64_t ctime_ns = 0;
    uint64_t size = 0;
    bool settled = false;  // it could not change unseen since it was read
    PageHashes pages;
  };
  class Copy;

  explicit FileContents(ScopedFd root);
  Result<> note_ends();
  Result<bool> look(const std::string& path, uint64_t inode, bool runs, bool always, ContentSink& sink);

  ScopedFd root_;
  std::optional<FileWatch> watch_;
  std::array<uint64_t, 24> key_;  // of the hash: a container must not be able to make collisions
  std::map<uint64_t, File> files_;
  std::vector<std::pair<uint64_t, std::string>> open_;  // in the freeze: inode and path
};

}  // namespace godwit
