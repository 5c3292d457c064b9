// The shared memory of a container that has no file in a file system: shared anonymous memory and memfds. To the kernel
// each is a file on a mount of its own, an object here, known by its inode number; processes have it mapped, open, or
// both. SysV shared memory is of the same kind but belongs to an IPC namespace, and is none of these.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/memory_maps.h"

namespace godwit {

// More are left to CRIU, as are smaller ones: each costs a descriptor on both hosts.
inline constexpr size_t kSharedObjectsMax = 1024;
inline constexpr uint64_t kSharedObjectBytesMin = uint64_t{64} << 10;

struct SharedObject {
  ScopedFd file;      // open read-only: while it is, no other object gets the inode number
  std::string name;   // by which CRIU makes a memfd of it: its own, or the path of a mapping's file
  bool open = false;  // a process had a descriptor of it
};
using SharedObjects = std::map<uint64_t, SharedObject>;  // by inode number

class SharedObjectFinder {
 public:
  static Result<SharedObjectFinder> create();

  // The objects of PROCESSES, which may run. KNOWN ones that are still there are moved from it. A process that ends
  // meanwhile, and what it unmaps or closes, is left out.
  SharedObjects find(const std::vector<pid_t>& processes, SharedObjects& known) const;

  uint64_t device() const { return device_; }
  // Whether MAPPING is of such an object.
  bool is_object(const Mapping& mapping) const;

 private:
  explicit SharedObjectFinder(uint64_t device) : device_(device) {}
  SharedObject* take(const std::string& path, uint64_t inode, SharedObjects& known, SharedObjects& found) const;

  uint64_t device_;  // of the kernel's own mount of shared memory
};

}  // namespace godwit
