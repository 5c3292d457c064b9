// What could change files of shared memory behind the back of who looks at the mappings of processes from time to time:
// mappings that come and go in between, and children that are forked, write and end. Told by perf events of all
// processors, which cost next to nothing, and by two tracepoints of system calls for what has none: mremap(2) of
// nothing, which makes a second mapping, and madvise(2) that removes content. While it is there, every system call on
// this host takes some tens of nanoseconds longer.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

struct FileId {
  uint64_t device = 0;  // as st_dev
  uint64_t inode = 0;
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

class MappingWatch {
 public:
  // An error where the kernel does not tell all of it. 32-bit programs are not watched.
  static Result<MappingWatch> start();
  MappingWatch(MappingWatch&&) = default;
  MappingWatch& operator=(MappingWatch&&) = default;
  ~MappingWatch();

  struct Events {
    bool lost = false;        // some were; anything may have happened
    std::set<FileId> mapped;  // a shared mapping that may write was made, or became such a one
    std::set<pid_t> odd;      // processes that forked, or made one of those calls
  };
  // Of this host, since the last call. What has happened before it is in the answer.
  Result<Events> take();

 private:
  struct Processor {
    ScopedFd records;
    std::vector<ScopedFd> calls;
    char* ring = nullptr;
    uint64_t lost = 0;  // records, so far
  };
  MappingWatch() = default;
  Result<> watch(int processor, const std::vector<uint64_t>& calls);
  static void read(const Processor& processor, Events& events);

  std::vector<Processor> processors_;
  std::string online_;  // processors, when it began
};

}  // namespace godwit
