#include "memory/write_tracker.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "base/log.h"
#include "memory/soft_dirty_tracker.h"
#include "memory/uffd_wp_tracker.h"

namespace godwit {

namespace {

// A child of ours that writes its page once for each byte it is sent, and stands still otherwise.
class WritingChild {
 public:
  static Result<std::unique_ptr<WritingChild>> start() {
    std::unique_ptr<WritingChild> child(new WritingChild);
    if (child->page_ == MAP_FAILED) return fail_errno("mmap");
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, child->sockets_.data()) != 0)
      return fail_errno("socketpair");
    child->pid_ = ::fork();
    if (child->pid_ < 0) return fail_errno("fork");
    if (child->pid_ == 0) child->run();
    return child;
  }
  ~WritingChild() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    for (int socket : sockets_)
      if (socket >= 0) ::close(socket);
    if (page_ != MAP_FAILED) ::munmap(page_, kPageBytes);
  }
  WritingChild(const WritingChild&) = delete;
  WritingChild& operator=(const WritingChild&) = delete;

  pid_t pid() const { return pid_; }
  bool write() const {
    char byte = 0;
    return ::write(sockets_[0], &byte, 1) == 1 && ::read(sockets_[0], &byte, 1) == 1;
  }
  PageRange page() const { return {RemoteAddr{reinterpret_cast<uint64_t>(page_)}, 1}; }

 private:
  WritingChild() = default;
  // Between fork and exit of a program with threads: only system calls.
  [[noreturn]] void run() {
    ::close(sockets_[0]);
    char byte;
    ssize_t got;
    while ((got = ::read(sockets_[1], &byte, 1)) == 1 || (got < 0 && errno == EINTR)) {
      if (got < 0) continue;
      *static_cast<volatile char*>(page_) = 1;
      if (::write(sockets_[1], &byte, 1) != 1) break;
    }
    ::_exit(0);
  }
  void* page_ = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::array<int, 2> sockets_ = {-1, -1};
  pid_t pid_ = -1;
};

// What is new is found, what was not written since is not, and what was is.
Result<> try_tracking(Tracking kind) {
  TRY_ASSIGN(const auto child, WritingChild::start());
  Mapping mapping;
  mapping.start = child->page().start;
  mapping.end = child->page().end();
  const PageRanges all{child->page()};
  auto silent = [] { return fail("the child of the probe does not answer"); };
  if (!child->write()) return silent();
  TRY_ASSIGN(const auto tracker, attach_tracker(kind, child->pid()));
  TRY_ASSIGN(const PageRanges first, tracker->take_written({mapping}));
  TRY_ASSIGN(const PageRanges second, tracker->take_written({mapping}));
  if (!child->write()) return silent();
  TRY_ASSIGN(const PageRanges third, tracker->find_written({mapping}));
  if (first != all || !second.empty() || third != all) return fail("it does not find what is written");
  return {};
}

bool works(Tracking kind) {
  auto tried = try_tracking(kind);
  if (!tried) log::debug("no tracking by {}: {}", tracking_name(kind), tried.error().text());
  return tried.has_value();
}

}  // namespace

const char* tracking_name(Tracking tracking) {
  switch (tracking) {
    case Tracking::kUffdWp:
      return "uffd-wp";
    case Tracking::kSoftDirty:
      return "soft-dirty";
    case Tracking::kNone:
      return "none";
  }
  return "?";
}

bool can_track(Tracking tracking) {
  // What the running kernel can do does not change.
  static const bool uffd_wp = works(Tracking::kUffdWp), soft_dirty = works(Tracking::kSoftDirty);
  return (tracking == Tracking::kUffdWp && uffd_wp) || (tracking == Tracking::kSoftDirty && soft_dirty);
}

Tracking probe_tracking() {
  for (Tracking tracking : {Tracking::kUffdWp, Tracking::kSoftDirty})
    if (can_track(tracking)) return tracking;
  return Tracking::kNone;
}

Result<std::unique_ptr<WriteTracker>> attach_tracker(Tracking kind, pid_t pid, const OpenUserfaultfd& open) {
  if (kind == Tracking::kUffdWp) return UffdWpTracker::attach(pid, open);
  if (kind == Tracking::kSoftDirty) return SoftDirtyTracker::attach(pid);
  return fail(std::string("no tracking by ") + tracking_name(kind));
}

Result<PageRanges> find_populated(const PagemapScan& scan, const std::vector<Mapping>& owned) {
  PageRanges populated;
  for (const Mapping& mapping : owned)
    TRY(scan.find({.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero | scan.guard_if_known()}, mapping.start,
                  mapping.end, populated));
  return populated;
}

}  // namespace godwit
