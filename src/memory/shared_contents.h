// What the shared memory of a container holds (shared_objects.h), on the source: which pages the target does not have
// yet. As FileContents for files of a tmpfs.
//
// Only what was written through mappings is read again of objects that cannot be written otherwise: those that nobody
// has open, which are not memfds by name, and memfds that are sealed against new writers. Nothing tells of writes to
// others by descriptor (fanotify is silent of files that were never opened by a path, from Linux 6.14 on, and times
// change by mappings too), so they are read whole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "memory/content_copy.h"
#include "memory/shared_objects.h"
#include "memory/shared_tracker.h"
#include "peer.pb.h"

namespace godwit {

class SharedSink : public ContentSink {
 public:
  // Before any content of the object; and when it is there no longer.
  virtual Result<> object(uint64_t inode, std::string_view name) = 0;
  virtual Result<> object_gone(uint64_t inode) = 0;
};

class SharedContents {
 public:
  static Result<std::unique_ptr<SharedContents>> create();

  // The container runs. What objects there are; those that are found later are CRIU's.
  void find(const std::vector<pid_t>& processes);
  // Sends what the target does not have of them. MAPPED is what was written through mappings since the last time.
  Result<> send_changes(SharedSink& sink, const MappedLook& mapped);

  // The container stands still. Returns what there is of objects, when the content of those has been sent that cannot
  // be written any more once they are sealed.
  Result<peer::SharedMemory> send_last_changes(SharedSink& sink, const MappedLook& mapped);
  // Then the content of all others.
  Result<> send_open_objects(SharedSink& sink, const MappedLook& mapped);

  // Device and inode number of each: what CRIU is not to dump.
  std::vector<std::pair<uint64_t, uint64_t>> owned() const;
  // Whether MAPPING is of one, or of one that may be found.
  bool is_object(const Mapping& mapping) const { return finder_.is_object(mapping); }

 private:
  struct Sent {
    PageHashes pages;
    bool whole = false;    // all of it was read once; when it was read last,
    uint64_t size = 0;     // it was so long,
    bool by_maps = false;  // could be written only through mappings,
    bool frozen = false;   // or not at all
  };
  explicit SharedContents(SharedObjectFinder finder) : finder_(finder) {}
  Result<> send_news(SharedSink& sink);
  Result<> send_object(uint64_t inode, const MappedLook& mapped, SharedSink& sink);

  const SharedObjectFinder finder_;
  const PageKey key_;
  SharedObjects objects_;
  std::map<uint64_t, Sent> sent_;  // of objects that the target has been told of
};

}  // namespace godwit
