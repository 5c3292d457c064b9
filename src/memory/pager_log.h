// What another pager needs to go on where one was killed, in a memory file that somebody else holds as well: which
// pages had content at the freeze, which processes there are, and what they have done to their mappings since. Which of
// the pages are in their places is not written down: the kernel says it.
//
// What a process does to its mappings goes on as soon as it has been read from the userfaultfd. Between that and the
// line here nothing may be lost. So the kernel writes what is read into the file itself, from where a successor takes
// what the one that was killed did not come to. Only the userfaultfd of a child is lost with the process that read of
// it.
//
// A line costs a write(2). The file is of this host and this start of the kernel: nothing in it is portable.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/userfaultfd.h"
#include "memory/region_map.h"

namespace godwit {

struct PagerStep {
  enum class Kind : uint32_t { kSpace = 1, kFork, kMove, kRemove, kUnmap, kClose };
  Kind kind = Kind::kSpace;
  int number = 0;    // of the process: the pager's name for it
  uint32_t to = 0;   // kSpace: the SpaceId; kFork: the number of the child
  PageRange pages;   // kMove, kRemove, kUnmap
  RemoteAddr place;  // kMove: where they are now
};

// Of what a userfaultfd tells; a fork's child has no number yet.
PagerStep step_of(int number, const UserfaultEvent& event);

struct PagerHistory {
  std::string owner;
  std::map<SpaceId, std::vector<RegionMap>> maps;  // every page with content counts as owed
  std::vector<PagerStep> steps;                    // in the order in which they happened
};

class PagerLog {
 public:
  // OWNER is kept for whoever takes over. Bounds: see pager_log.cc.
  static Result<std::unique_ptr<PagerLog>> create(std::string_view owner);
  // The file of another one, which does not write any more.
  static Result<std::unique_ptr<PagerLog>> reopen(ScopedFd file);
  ~PagerLog();
  PagerLog(const PagerLog&) = delete;
  PagerLog& operator=(const PagerLog&) = delete;

  int fd() const { return file_.get(); }

  // Of a log that was reopened, first: what was read and not written down. An error: it was a fork.
  Result<> finish_reading();
  // All of it. An error says why nobody can know what the processes lack.
  Result<PagerHistory> history() const;

  // Writing. Not thread-safe. What cannot be written makes the log useless, and history() say so; no error otherwise.
  void map(SpaceId space, std::span<const RegionMap> regions);
  void step(const PagerStep& step);
  // Of userfaultfd NUMBER. Returns where the kernel is to write what is read (Userfaultfd::read_events).
  void* begin_reading(int number);
  // So many of what was read are written down, or need not be.
  void have_written(size_t events);
  void end_reading();

 private:
  struct Head;
  PagerLog(ScopedFd file, Head* head) : file_(std::move(file)), head_(head) {}
  static Result<std::unique_ptr<PagerLog>> attach(ScopedFd file);
  void append(std::string_view bytes);

  ScopedFd file_;
  Head* head_;  // its first page, shared with those who hold it
  uint64_t bytes_ = 0;
};

}  // namespace godwit
