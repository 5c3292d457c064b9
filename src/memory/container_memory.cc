#include "memory/container_memory.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "kernel/proc.h"
#include "memory/page_set.h"
#include "memory/still_memory.h"

namespace godwit {

namespace {

// A process that does not stop may do so a little later (it was in a vfork), but each attempt takes time.
constexpr int kAttemptsMax = 3;

bool has_ended(const Error& error) { return error.code() == ESRCH || error.code() == ENOENT; }

Result<SpaceId> space_id(pid_t pid) {
  TRY_ASSIGN(const pid_t innermost, proc::innermost_pid(pid));
  return static_cast<SpaceId>(innermost);
}

bool share_memory(pid_t a, pid_t b) { return ::syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0; }

// Ended and not waited for: it has no memory, and CRIU asks for none.
bool is_zombie(pid_t pid) {
  auto maps = read_file("/proc/" + std::to_string(pid) + "/maps", kMapsBytesMax);
  return !maps || maps->empty();
}

}  // namespace

Result<std::unique_ptr<ContainerMemory>> ContainerMemory::create(Settings settings) {
  if (settings.method == Tracking::kSoftDirty && !settings.hold_still)
    return fail("tracking by soft-dirty bits needs a way to hold the processes still");
  return std::unique_ptr<ContainerMemory>(new ContainerMemory(std::move(settings)));
}

ContainerMemory::~ContainerMemory() = default;

HugeRanges ContainerMemory::huge_before() const {
  HugeRanges processes;
  for (const auto& [pid, space] : spaces_)
    if (!space.huge.empty()) processes.emplace_back(pid, space.huge);
  return processes;
}

void ContainerMemory::detach() { spaces_.clear(); }

// The processes of the container with an address space of their own; forgets those that have ended.
Result<std::vector<pid_t>> ContainerMemory::find_spaces() {
  TRY_ASSIGN(auto pids, settings_.processes());
  std::erase_if(spaces_, [&](const auto& entry) { return std::ranges::find(pids, entry.first) == pids.end(); });
  // The known ones first: a process that has the memory of a known one (vfork) must not take its place.
  std::ranges::stable_partition(pids, [&](pid_t pid) { return spaces_.contains(pid); });
  std::vector<pid_t> alone;
  for (pid_t pid : pids) {
    const bool known = spaces_.contains(pid);
    if (!known && is_zombie(pid)) continue;
    if (!known && std::ranges::any_of(alone, [&](pid_t other) { return share_memory(pid, other); })) continue;
    alone.push_back(pid);
  }
  return alone;
}

// For the first time, or again after it could not be looked at.
Result<> ContainerMemory::meet(pid_t pid, Space& space) {
  TRY_ASSIGN(space.id, space_id(pid));
  TRY(space.flags.learn(pid));
  TRY_ASSIGN(const auto mappings, space.flags.complete(pid));
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid));
  if (!space.huge.empty()) return {};  // tracking has split some of them since
  for (const Mapping& mapping : owned_mappings(mappings))
    TRY(scan.find({.all_of = kPageHuge, .any_of = kPagePresent}, mapping.start, mapping.end, space.huge));
  return {};
}

Result<> ContainerMemory::learn() {
  TRY_ASSIGN(const auto pids, find_spaces());
  for (pid_t pid : pids)
    if (auto met = meet(pid, spaces_[pid]); !met && !has_ended(met.error())) return met;
  return {};
}

Result<std::vector<SpaceScan>> ContainerMemory::scan_running() {
  TRY_ASSIGN(const auto pids, find_spaces());
  // Gone, or in the middle of an exec: it is met anew, if it is still there.
  auto forget = [this](pid_t pid, const Error& error) {
    log::debug("process {}: {}", pid, error.text());
    spaces_.erase(pid);
  };
  for (pid_t pid : pids)
    if (auto prepared = prepare(pid, spaces_[pid]); !prepared) forget(pid, prepared.error());
  const bool standstill = std::ranges::any_of(
      spaces_, [](const auto& entry) { return entry.second.tracker && entry.second.tracker->needs_standstill(); });
  if (standstill) TRY(settings_.hold_still());
  std::vector<SpaceScan> scans;
  for (pid_t pid : pids) {
    auto space = spaces_.find(pid);
    if (space == spaces_.end()) continue;
    auto scan = look_at(pid, space->second);
    if (scan) scans.push_back(std::move(*scan));
    if (!scan) forget(pid, scan.error());
  }
  if (standstill) TRY(settings_.let_go());
  return scans;
}

// What takes time, so that it is not done while the processes may have to stand still.
Result<> ContainerMemory::prepare(pid_t pid, Space& space) {
  if (!space.tracker && space.attempts < kAttemptsMax) {
    ++space.attempts;
    TRY(meet(pid, space));
    auto tracker = attach_tracker(settings_.method, pid, settings_.open_userfaultfd);
    if (tracker) space.tracker = std::move(*tracker);
    if (!tracker) log::warn("process {} is not tracked: {}", pid, tracker.error().text());
  }
  return space.tracker ? begin_with_new_mappings(pid, space) : Result<>();
}

Result<SpaceScan> ContainerMemory::look_at(pid_t pid, Space& space) {
  SpaceScan scan;
  scan.pid = pid;
  scan.space = space.id;
  if (!space.tracker) return scan;
  TRY_ASSIGN(const auto mappings, space.flags.complete(pid));
  TRY_ASSIGN(scan.written, space.tracker->take_written(owned_mappings(mappings)));
  return scan;
}

Result<> ContainerMemory::begin_with_new_mappings(pid_t pid, Space& space) {
  TRY_ASSIGN(const auto before, space.flags.complete(pid));
  const bool new_ones = std::ranges::any_of(before, [](const Mapping& mapping) { return mapping.vm_flags.empty(); });
  if (!new_ones && space.begun) return {};
  TRY(space.flags.learn(pid));
  space.begun = true;
  if (!settings_.hold_still || space.tracker->needs_standstill()) return {};
  TRY(settings_.hold_still());
  auto mappings = space.flags.complete(pid);
  if (mappings) space.tracker->begin_with(owned_mappings(*mappings));
  TRY(settings_.let_go());
  return mappings ? Result<>() : std::unexpected(mappings.error());
}

Result<std::vector<FrozenSpace>> ContainerMemory::scan_frozen() {
  TRY_ASSIGN(const auto pids, find_spaces());
  std::vector<FrozenSpace> scans;
  for (pid_t pid : pids) {
    auto scan = look_at_frozen(pid, spaces_[pid]);
    if (!scan && has_ended(scan.error())) continue;  // since the last look; its parent has not waited for it yet
    TRY(scan);
    scans.push_back(std::move(*scan));
  }
  return scans;
}

Result<FrozenSpace> ContainerMemory::look_at_frozen(pid_t pid, Space& space) const {
  FrozenSpace frozen;
  TRY_ASSIGN(space.id, space_id(pid));
  frozen.space = space.id;
  frozen.pid = pid;
  frozen.huge_before = space.huge;
  frozen.tracked = space.tracker != nullptr;
  TRY_ASSIGN(const auto mappings, space.flags.complete(pid));
  if (mappings.empty()) return fail(Error("the process has ended", ESRCH));
  const auto owned = owned_mappings(mappings);
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid));
  frozen.owned = ranges_of(owned);
  frozen.smaps = smaps_text(mappings);
  frozen.read_first = first_code(mappings);
  std::optional<PageRanges> populated;
  if (space.tracker) {
    TRY_ASSIGN(frozen.written, space.tracker->find_written(owned));
    populated = space.tracker->populated();
    frozen.unguarded = space.tracker->known_unguarded();
  }
  if (!populated && scan.works()) {
    TRY_ASSIGN(StillMemory memory, look_at_still_memory(scan, owned));
    populated = std::move(memory.populated);
    frozen.unguarded = !memory.guarded;
  }
  if (!populated) {
    TRY_ASSIGN(populated, find_populated(scan, owned));
  }
  frozen.populated = std::move(*populated);
  if (!space.tracker) frozen.written = frozen.populated;
  return frozen;
}

}  // namespace godwit
