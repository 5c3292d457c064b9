// The serving side of a userfaultfd that another process has set up: its missing pages are given to it here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// An error says why CRIU, with the rights of this process, cannot hand over memory to be filled in later: it needs
// userfaultfds that tell of forks and of changes of mappings (Linux 4.11, CONFIG_USERFAULTFD, CAP_SYS_PTRACE).
Result<> check_userfaultfd();
// The same for the processes of a user namespace, which get theirs from /dev/userfaultfd (Linux 6.1).
Result<> check_userfaultfd_device();

// What the kernel tells of the process. Until it has been read, the thread that caused it waits, except at a fault,
// where it waits for the page.
struct UserfaultEvent {
  enum class Kind { kFault, kFork, kRemap, kRemove, kUnmap };
  Kind kind = Kind::kFault;
  PageRange range;  // kFault: the page; kRemap: where it was; kRemove, kUnmap: what reads as zero, or is not there
  RemoteAddr to;    // kRemap
  ScopedFd child;   // kFork: the child's userfaultfd
};

class Userfaultfd {
 public:
  Userfaultfd() = default;
  // Of a process that has chosen its features and registers ranges itself; non-blocking.
  explicit Userfaultfd(ScopedFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  enum class Outcome {
    kDone,
    kExists,    // the page is there already
    kChanging,  // the process is changing its mappings: there are events to read first
    kNoRange,   // not registered: not mapped any more, or not yet
    kGone,      // the process has ended
  };
  struct Copied {
    Outcome outcome = Outcome::kDone;  // of the page after those done
    uint64_t pages = 0;                // that are in their place now
  };
  // Gives it the contents of PAGES and wakes who waits for them.
  Result<Copied> copy(const PageRange& pages, const std::byte* contents) const;
  Result<Copied> zero(const PageRange& pages) const;
  void wake(const PageRange& pages) const;
  // All threads that wait for pages fault again: what an earlier reader was told of them is told anew.
  void wake_all() const;
  // Appends the events there are, at most a few dozen; returns at once. The kernel writes them to BUFFER, of kReadBytes
  // and aligned as a pointer is.
  static constexpr size_t kReadBytes = size_t{16} * 32;
  Result<> read_events(std::vector<UserfaultEvent>& events, void* buffer) const;
  // The same without a BUFFER that anybody else sees.
  Result<> read_events(std::vector<UserfaultEvent>& events) const;
  // What a process that was killed in read_events() had been told. Its descriptors of children are gone.
  static void clear(void* buffer);
  static std::vector<UserfaultEvent> left_in(const void* buffer);

 private:
  ScopedFd fd_;
};

}  // namespace godwit
