#include "memory/write_tracker.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory/uffd_wp_tracker.h"

namespace godwit {

namespace {

// On a child of our own, which waits to be killed.
bool try_uffd_wp() {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0)
    for (;;) ::pause();
  auto works = [child]() -> Result<> {
    TRY_ASSIGN(auto tracker, UffdWpTracker::attach(child));
    TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(child));
    if (!scan.works()) return fail("no PAGEMAP_SCAN");
    TRY_ASSIGN(const auto mappings, read_maps(child));
    for (const Mapping& mapping : mappings)
      if (mapping.name == "[heap]") TRY(tracker->take_written({mapping}));
    return {};
  }();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return works.has_value();
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
  static const bool uffd_wp = try_uffd_wp();  // what the running kernel can do does not change
  return tracking == Tracking::kUffdWp && uffd_wp;
}

Tracking probe_tracking() { return can_track(Tracking::kUffdWp) ? Tracking::kUffdWp : Tracking::kNone; }

Result<std::unique_ptr<WriteTracker>> attach_tracker(Tracking kind, pid_t pid) {
  if (kind == Tracking::kUffdWp) return UffdWpTracker::attach(pid);
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
