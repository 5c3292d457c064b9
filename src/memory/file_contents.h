// What the regular files of a tmpfs mount hold, on the source: which pages of them the target does not have yet.
//
// Files are known by inode number. Of each, a keyed hash of every page is remembered as it was sent, so that looking at
// a file again sends only what differs; a torn or stale copy of a page differs from what is there when the container
// stands still, and is sent again. What is not looked at again in the freeze are files that cannot have changed since
// they were last read: no open file that may write existed since then (kernel/file_watch.h argues it), and size and
// ctime, which truncate(2) changes, are the same. A ctime is believed only if it was older than a clock tick when the
// file was read. If the file system cannot be watched, every file is read again.
//
// Of a file that is mapped, or open for writing, only those pages are read again that were written through mappings, if
// that is known (shared_tracker.h) and nothing was written by descriptor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/file_watch.h"
#include "memory/content_copy.h"
#include "memory/file_tree.h"
#include "memory/shared_tracker.h"

namespace godwit {

class FileContents {
 public:
  // ROOT: a mount's own directory, see clone_tmpfs_mounts. The file system is watched from now on.
  static Result<std::unique_ptr<FileContents>> create(ScopedFd root);

  // The container runs. Sends what the target does not have; MAPPED is what was written through mappings since the last
  // time, whatever a file's times say. Files that vanish meanwhile are left out.
  Result<> send_changes(ContentSink& sink, const MappedLook& mapped);

  // The container stands still. Returns all files there are, when the content of those that are not open for writing
  // has been sent.
  Result<peer::FileTree> send_last_changes(ContentSink& sink);
  // Then what is left: the content of files that are open for writing.
  Result<> send_open_files(ContentSink& sink, const MappedLook& mapped);

  bool watched() const { return watch_.has_value(); }

 private:
  struct File {
    int64_t ctime_ns = 0;
    uint64_t size = 0;
    bool settled = false;  // it could not change unseen since it was read
    bool by_maps = false;  // since then it was written through mappings, if at all
    PageHashes pages;
  };

  explicit FileContents(ScopedFd root);
  Result<> note_ends();
  struct Asked {
    bool runs;                    // what has gone is left out
    bool always;                  // whatever its times say
    const MappedWrites* written;  // nullptr: nothing
  };
  Result<bool> look(const std::string& path, uint64_t inode, const Asked& asked, ContentSink& sink);
  Result<> read(int file, uint64_t inode, uint64_t size, const Asked& asked, ContentSink& sink);

  ScopedFd root_;
  uint64_t device_ = 0;
  std::optional<FileWatch> watch_;
  const PageKey key_;
  std::map<uint64_t, File> files_;
  std::vector<std::pair<uint64_t, std::string>> open_;  // in the freeze: inode and path
};

}  // namespace godwit
