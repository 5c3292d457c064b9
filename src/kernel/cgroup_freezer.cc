#include "kernel/cgroup_freezer.h"

#include <time.h>

#include "base/file.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {
// v1 reports no event when freezing is complete, so its state file is read again and again; a read takes about
// 2 us, freezing a few hundred. v2 has an event, but polling at this pace is as quick and one code path.
constexpr timespec kPollInterval = {0, 50'000};
}  // namespace

Result<CgroupFreezer> CgroupFreezer::open(const fs::path& directory) {
  std::error_code error;
  if (fs::exists(directory / "cgroup.freeze", error)) return CgroupFreezer(directory, true);
  if (fs::exists(directory / "freezer.state", error)) return CgroupFreezer(directory, false);
  return fail(directory.string() + " has no freezer");
}

Result<bool> CgroupFreezer::is_frozen() const {
  if (!unified_) {
    TRY_ASSIGN(std::string state, read_file(directory_ / "freezer.state", 64));
    return trimmed(state) == "FROZEN";
  }
  TRY_ASSIGN(std::string events, read_file(directory_ / "cgroup.events", 4096));
  return events.find("frozen 1") != std::string::npos;
}

Result<> CgroupFreezer::set(bool frozen) const {
  if (unified_) return write_attribute(directory_ / "cgroup.freeze", frozen ? "1" : "0");
  return write_attribute(directory_ / "freezer.state", frozen ? "FROZEN" : "THAWED");
}

Result<> CgroupFreezer::wait_frozen(Deadline deadline) const {
  for (;;) {
    TRY_ASSIGN(bool frozen, is_frozen());
    if (frozen) return {};
    if (Clock::now() > deadline) return fail("the container's tasks did not freeze in time");
    // v1: a task forked during the freeze is missed until the state is written again.
    if (!unified_) TRY(set(true));
    ::nanosleep(&kPollInterval, nullptr);
  }
}

Result<> CgroupFreezer::freeze(Deadline deadline) const {
  TRY(set(true));
  if (auto frozen = wait_frozen(deadline); !frozen) {
    (void)thaw();
    return frozen;
  }
  return {};
}

Result<> CgroupFreezer::thaw() const {
  std::error_code error;
  if (!fs::exists(directory_, error)) return {};
  return set(false);
}

}  // namespace godwit
