#include "memory/uffd_wp_tracker.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <utility>

#include "memory/page_set.h"
#include "memory/still_memory.h"
#include "tracee/remote_userfaultfd.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr uint64_t kFeatureWpAsync = 1 << 15;  // UFFD_FEATURE_WP_ASYNC, linux/userfaultfd.h of 6.7
// A process on its way through the kernel stops in microseconds; one that sleeps there uninterruptibly is not waited
// for: it is sent whole.
constexpr auto kStopsWithin = 200ms;

PagemapScan::Query populated(const PagemapScan& scan) {
  return {.any_of = kPagePresent | kPageSwapped, .none_of = kPageZero | scan.guard_if_known()};
}

Result<> allow_protection(int uffd, const Mapping& mapping) {
  uffdio_register request{};
  request.range = {mapping.start.value, mapping.end - mapping.start};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(uffd, UFFDIO_REGISTER, &request) == 0) return {};
  return fail_errno("UFFDIO_REGISTER");
}

Error another_address_space() { return Error("the process has another address space now", ESTALE); }

}  // namespace

Result<std::unique_ptr<WriteTracker>> UffdWpTracker::attach(pid_t pid, const OpenUserfaultfd& open) {
  TRY_ASSIGN(ScopedFd uffd, open(pid, Clock::now() + kStopsWithin));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpAsync;
  if (::ioctl(uffd.get(), UFFDIO_API, &api) != 0) return fail_errno("UFFDIO_API");
  return std::unique_ptr<WriteTracker>(new UffdWpTracker(pid, std::move(uffd)));
}

void UffdWpTracker::begin_with(const std::vector<Mapping>& owned) {
  begins_by_itself_ = false;
  for (const Mapping& mapping : owned)
    if (auto allowed = allow_protection(uffd_.get(), mapping); !allowed && allowed.error().code() == EBUSY)
      unsure_ = true;
}

// The address space is looked up again each time: after an exec it is another one, of which nothing is protected.
Result<PageRanges> UffdWpTracker::take_written(const std::vector<Mapping>& owned) {
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid_));
  PageRanges written;
  const bool all_new = std::exchange(unsure_, false);
  for (const Mapping& mapping : owned) {
    if (all_new) {
      TRY(take_whole(scan, mapping, written));
    } else {
      TRY(take_from(scan, mapping, written));
    }
  }
  return written;
}

Result<> UffdWpTracker::take_from(const PagemapScan& scan, const Mapping& mapping, PageRanges& written) {
  PagemapScan::Query query = godwit::populated(scan);
  query.all_of = kPageWritten;
  query.protect = true;
  PageRanges found;
  auto scanned = scan.find(query, mapping.start, mapping.end, found);
  if (scanned) written.insert(written.end(), found.begin(), found.end());
  if (scanned || scanned.error().code() != EPERM) return scanned;
  return take_whole(scan, mapping, written);  // some of it is new
}

// A scan that failed may have protected a part and lost it on its way out, so all that has content counts as written.
Result<> UffdWpTracker::take_whole(const PagemapScan& scan, const Mapping& mapping, PageRanges& written) {
  PagemapScan::Query query = godwit::populated(scan);
  auto allowed = begins_by_itself_ ? allow_protection(uffd_.get(), mapping) : Result<>();
  query.protect = allowed.has_value();
  if (!allowed) {
    const int code = allowed.error().code();
    if (code == ESRCH || code == ENOMEM) return fail(another_address_space());  // what it belonged to is gone
    if (code == EBUSY) unsure_ = true;                                          // somebody else's userfaultfd has it
  }
  PageRanges found;
  auto scanned = scan.find(query, mapping.start, mapping.end, found);
  if (!scanned && scanned.error().code() == EPERM && !begins_by_itself_) {
    // Mapped since: begun with before the next look. Until then it is written.
    query.protect = false;
    found.clear();
    scanned = scan.find(query, mapping.start, mapping.end, found);
  }
  if (!scanned && scanned.error().code() == EPERM) return fail(another_address_space());
  TRY(scanned);
  written.insert(written.end(), found.begin(), found.end());
  return {};
}

Result<PageRanges> UffdWpTracker::find_written(const std::vector<Mapping>& owned) {
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid_));
  TRY_ASSIGN(StillMemory memory, look_at_still_memory(scan, owned));
  populated_ = std::move(memory.populated);
  unguarded_ = !memory.guarded;
  // Pages keep their protection, and lose it by no write, where mremap has taken their mapping out of what is tracked:
  // before 6.13 what it moves itself, and on later kernels, too, the neighbour that becomes one mapping with it.
  PagemapScan::Query untracked = godwit::populated(scan);
  untracked.none_of |= kPageWpAllowed;
  for (const Mapping& mapping : owned) TRY(scan.find(untracked, mapping.start, mapping.end, memory.written));
  return normalise(std::move(memory.written));
}

}  // namespace godwit
