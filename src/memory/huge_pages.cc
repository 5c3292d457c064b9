#include "memory/huge_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/scoped_fd.h"

namespace godwit {

namespace {

#ifndef MADV_COLLAPSE
constexpr int kCollapse = 25;  // Linux 6.1
#else
constexpr int kCollapse = MADV_COLLAPSE;
#endif
// Of its time the process may lose to this at most one part in so many.
constexpr int kPauseFactor = 20;

}  // namespace

uint64_t collapse_huge_pages(pid_t pid, const PageRanges& ranges, const std::function<bool()>& stop) {
  ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  uint64_t done = 0;
  if (!pidfd) return done;
  for (const PageRange& range : ranges) {
    RemoteAddr at = range.start.region();
    if (at < range.start) at = at + kRegionBytes;
    for (; at + kRegionBytes <= range.end() && !stop(); at = at + kRegionBytes) {
      const Stopwatch watch;
      iovec region{reinterpret_cast<void*>(at.value), kRegionBytes};
      if (::syscall(SYS_process_madvise, pidfd.get(), &region, 1, kCollapse, 0) >= 0) {
        ++done;
      } else if (errno == ESRCH) {
        return done;
      }
      std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(watch.ms() * kPauseFactor));
    }
  }
  return done;
}

uint64_t collapse_huge_pages(const HugeRanges& processes, const std::function<bool()>& stop) {
  uint64_t done = 0;
  for (const auto& [pid, ranges] : processes) done += collapse_huge_pages(pid, ranges, stop);
  return done;
}

}  // namespace godwit
