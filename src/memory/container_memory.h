// The memory of all processes of a container, on the source: what was written since the last look while they run, and
// the whole truth once they are frozen.
//
// Processes come and go between looks, fork, exec, map and unmap. Nothing is lost by that: a mapping that is not yet
// tracked counts as written whole, and the look at the frozen container asks the kernel anew for everything. So what
// looks at running processes find may be too much, never too little for what the last one adds.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/huge_pages.h"
#include "memory/owned_memory.h"
#include "memory/write_tracker.h"

namespace godwit {

// One address space, while it runs.
struct SpaceScan {
  SpaceId space = 0;
  pid_t pid = 0;       // here
  PageRanges written;  // owned pages with content: written since the last look, or new
};

// One address space, frozen.
struct FrozenSpace {
  SpaceId space = 0;
  pid_t pid = 0;
  PageRanges owned;        // what CRIU is not to dump, with content or not
  PageRanges populated;    // of that, what has content
  PageRanges written;      // of that, since the last look; all of it if the process is not tracked
  bool unguarded = false;  // it is known that OWNED has no guard pages
  PageRanges read_first;   // owned, and to be read before CRIU begins to dump
  PageRanges huge_before;  // was backed by huge pages when it was first looked at
  std::string smaps;       // owned_memory.h's smaps_text
  bool tracked = false;
};

class ContainerMemory {
 public:
  struct Settings {
    std::function<Result<std::vector<pid_t>>()> processes;  // of the container, now
    Tracking method = Tracking::kNone;
    OpenUserfaultfd open_userfaultfd = open_userfaultfd_of;
    // Stop all processes for a moment, and let them go on. Without them new mappings are begun with while they run, and
    // there is no tracking by soft-dirty bits.
    std::function<Result<>()> hold_still = nullptr;
    std::function<Result<>()> let_go = nullptr;
  };
  static Result<std::unique_ptr<ContainerMemory>> create(Settings settings);
  ~ContainerMemory();

  // While the container runs, before a freeze without looks: what need not be found out then.
  Result<> learn();
  Result<std::vector<SpaceScan>> scan_running();
  Result<std::vector<FrozenSpace>> scan_frozen();
  // What tracking has split, or will: for when the container stays (huge_pages.h).
  HugeRanges huge_before() const;
  // The processes are as if they had never been tracked.
  void detach();

 private:
  struct Space {
    SpaceId id = 0;
    std::unique_ptr<WriteTracker> tracker;  // none: it could not be attached
    int attempts = 0;
    bool begun = false;  // tracked for the first time
    MappingFlags flags;
    PageRanges huge;
  };
  explicit ContainerMemory(Settings settings) : settings_(std::move(settings)) {}
  Result<std::vector<pid_t>> find_spaces();
  Result<> meet(pid_t pid, Space& space);
  Result<> prepare(pid_t pid, Space& space);
  Result<SpaceScan> look_at(pid_t pid, Space& space);
  Result<> begin_with_new_mappings(pid_t pid, Space& space);
  Result<FrozenSpace> look_at_frozen(pid_t pid, Space& space) const;

  Settings settings_;
  std::map<pid_t, Space> spaces_;
};

}  // namespace godwit
