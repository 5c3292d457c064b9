// The serving side of a userfaultfd(2) that somebody else created and registers ranges with: what its process misses
// is put there, and what its process does to its mappings is told.
//
// While a mapping change is under way and its event has not been read, every ioctl answers "again" (Linux 4.11 and
// later): who reads an event and acts on what he knows of the mappings must do both under one lock.
#pragma once

#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class Userfaultfd {
 public:
  // FD as received from the process, its API already agreed on. An error if it is something else.
  static Result<Userfaultfd> adopt(ScopedFd fd);

  enum class Outcome {
    kDone,    // all
    kAgain,   // the mappings are changing, or memory is short, or only a part was done: events first, then the rest
    kExists,  // the first page not done is there already
    kGone,    // the range lies in no registered mapping, or in more than one
    kEnded,   // the process has ended or runs another program
    kFailed,  // CODE says why
  };
  struct Answer {
    Outcome outcome;
    uint64_t bytes = 0;  // done from the start
    int code = 0;
  };
  // Puts BYTES (whole pages) at AT, and wakes who waits there.
  Answer copy(RemoteAddr at, std::span<const std::byte> bytes) const;
  // The same with pages of zeros, which take no memory until they are written to.
  Answer zero(PageRange range) const;
  void wake(PageRange range) const;
  // ENOMEM: the process has ended.
  Result<> unregister(PageRange range) const;
  // False if the process has ended or runs another program. MISSING is a page that it does not have yet.
  bool serves_someone(RemoteAddr missing) const;

  // Appends what has happened; never blocks. A fork's descriptor is the caller's from now on.
  Result<> read_events(std::vector<uffd_msg>& events) const;

  int fd() const { return fd_.get(); }

 private:
  explicit Userfaultfd(ScopedFd fd) : fd_(std::move(fd)) {}

  ScopedFd fd_;
};

}  // namespace godwit
