// Which files of a file system may have been written since one last looked, without reading them.
//
// What is written by descriptor is told of when it has been written (FAN_MODIFY); what is written through a mapping is
// not.
//
// A regular file's content changes only through an open file that may write (write, fallocate, a shared mapping, which
// keeps its open file; tmpfs changes no time for what is written through a mapping) or by truncate(2), which changes
// size or ctime. The kernel counts open files that may write; fcntl(2) gives a read lease only if there are none. And
// fanotify(7) tells of the end of each (FAN_CLOSE_WRITE), which comes before it is counted off, whoever had it: a
// process, a mapping, or a message between two sockets. So a file that is not open for writing now, and of which no
// such end was reported since a moment, had no open file that may write between that moment and now.
#pragma once

#include <cstdint>
#include <set>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class FileWatch {
 public:
  // Of the whole file system that the directory ROOT is on. Linux 5.13 for tmpfs.
  static Result<FileWatch> start(int root);

  struct Ends {
    bool all = false;             // too many to be told
    std::set<uint64_t> inodes;    // of files that some open file which might write has ended for
    std::set<uint64_t> modified;  // of files that were written by descriptor, or cut
  };
  // Since the last call.
  Result<Ends> take();

 private:
  explicit FileWatch(ScopedFd events) : events_(std::move(events)) {}
  ScopedFd events_;
};

// Whether any open file that may write exists for the regular file FILE, which is open read-only. Asked for a moment's
// lease: an open(2) for writing that comes within the microsecond waits for its end. True if it cannot be known.
bool is_open_for_writing(int file);

}  // namespace godwit
