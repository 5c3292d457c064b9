// A userfaultfd of another process, in our hands.
#pragma once

#include <sys/types.h>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// For the address space of PID. One of its threads is stopped for about a tenth of a millisecond; it keeps nothing.
// The descriptor handles faults from user mode only, which needs no privilege there.
Result<ScopedFd> open_userfaultfd_of(pid_t pid, Deadline deadline);

}  // namespace godwit
