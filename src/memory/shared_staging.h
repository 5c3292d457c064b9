// Shared memory of a container that arrives, on the target: for each object (shared_objects.h) a memfd, filled while
// the container runs on the source, which becomes the container's own. All that comes is a peer's.
//
//   object, content, zeros, object_gone …   apply(memory)   content, zeros …   and, from any thread, take()
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "peer.pb.h"

namespace godwit {

class SharedStaging {
 public:
  Result<> object(uint64_t inode, std::string_view name);
  Result<> object_gone(uint64_t inode);
  // Whole pages of an object.
  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages);
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes);
  // Gives each its size; those that MEMORY does not name are dropped.
  Result<> apply(const peer::SharedMemory& memory);

  uint64_t used_bytes() const;

  // The object for who restores the container; nothing if it is none of these. It may be asked for again.
  std::optional<ScopedFd> take(uint64_t inode);
  // Those that have not been asked for.
  std::vector<uint64_t> untaken() const;
  // What there is, is the container's alone.
  void let_go();

 private:
  struct Object {
    ScopedFd file;
    uint64_t size = 0;  // once it is applied
    bool taken = false;
  };
  Result<Object*> find(uint64_t inode);

  mutable std::mutex mutex_;  // guards the map; content goes on without it
  std::map<uint64_t, Object> objects_;
  bool applied_ = false;
};

}  // namespace godwit
