// Which pages of files were written through the shared mappings of a container's processes, so that they need not be
// read whole to find out. Of each mapping by userfaultfd's asynchronous write protection (uffd_wp_tracker.h): the pages
// of a file that may have been written are those of all of its mappings together. In doubt all of them are: of a
// mapping that is new or has gone since the last look, and where kernel/mapping_watch.h tells of something in between.
//
// What is not seen is what has no mapping in a process of the container: writes by descriptor, mappings of processes
// outside of it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/mapping_watch.h"
#include "kernel/memory_maps.h"
#include "memory/write_tracker.h"

namespace godwit {

// Of one file.
struct MappedWrites {
  bool all = false;
  PageRanges pages;  // addresses are places in the file
};

struct MappedLook {
  bool unknown = false;                  // anything may have been written
  std::map<FileId, MappedWrites> files;  // that were written, or may have been

  // Of FILE; nullptr: nothing of it was written through a mapping.
  const MappedWrites* of(const FileId& file) const;
};

class SharedTracker {
 public:
  struct Settings {
    std::function<bool(const Mapping&)> wanted;  // of shared mappings, which
    // As for ContainerMemory: the last two stop all processes for a moment, and let them go on.
    OpenUserfaultfd open_userfaultfd = open_userfaultfd_of;
    std::function<Result<>()> hold_still;
    std::function<Result<>()> let_go;
  };
  // An error where it cannot be known.
  static Result<std::unique_ptr<SharedTracker>> start(Settings settings);
  ~SharedTracker();  // ends the protection

  // What running PROCESSES have written since the last call. Read after it: what is written meanwhile is in this answer
  // or in the next one.
  MappedLook take(const std::vector<pid_t>& processes);
  // The same when they stand still, for the last time.
  MappedLook find(const std::vector<pid_t>& processes);

 private:
  struct Tracked {
    RemoteAddr end;
    uint64_t offset = 0;
    FileId file;
    bool begun = false;  // it is protected
    bool same(const Tracked& other) const { return end == other.end && offset == other.offset && file == other.file; }
  };
  using Mappings = std::map<RemoteAddr, Tracked>;
  struct Process {
    ScopedFd uffd;
    bool attempted = false;
    Mappings mappings;
  };

  SharedTracker(Settings settings, MappingWatch watch) : settings_(std::move(settings)), watch_(std::move(watch)) {}
  MappedLook look(const std::vector<pid_t>& processes, bool runs);
  void look_at(pid_t pid, bool runs, MappedLook& found);
  Result<Mappings> wanted_mappings(pid_t pid) const;
  Result<> collect(pid_t pid, Process& process, bool runs, MappedLook& found) const;
  Result<> begin(pid_t pid, Process& process, MappedLook& found);
  bool attach(pid_t pid, Process& process) const;
  void judge(const MappingWatch::Events& events, MappedLook& found) const;

  const Settings settings_;
  MappingWatch watch_;  // to the end of the migration: the kernel takes tens of milliseconds to end it
  std::map<pid_t, Process> processes_;
  std::map<pid_t, std::set<FileId>> files_of_;  // at the last look and at this one
};

}  // namespace godwit
