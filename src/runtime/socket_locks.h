// Locks on sockets (flock), which hardly any program has. CRIU finds them in /proc/PID/fdinfo of each socket; the lens,
// which answers for sockets without asking the kernel, can only do so where there are none.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <iosfwd>
#include <set>
#include <vector>

#include "base/result.h"

namespace godwit {

// Whether there is one on any socket of PROCESSES. Not for a freeze's critical path: before the kernel shows locks it
// waits until every processor has passed through a quiet state, 10 to 25 ms (6.18).
Result<bool> have_locked_sockets(const std::vector<pid_t>& processes);

// The files of DEVICE that are locked, by their inodes. LOCKS is a text like /proc/locks, which containers can make as
// long as they like: it is read line by line.
std::set<uint64_t> locked_inodes(std::istream& locks, dev_t device);

}  // namespace godwit
