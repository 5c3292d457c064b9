// Gives the TCP sockets of processes back to them where CRIU leaves them in repair mode (TCP_REPAIR, tcp(7)), in which
// reads and writes fail, and the kernel sends nothing: after a CRIU that was dumping them has died, and after a restore
// into a user namespace, whose processes have no right to end it.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.h"

namespace godwit {

// PROCESSES must stand still until it returns: a program that meets a socket in repair mode sees errors. An error: some
// socket could not be reached; the others are done.
Result<> end_tcp_repair(const std::vector<pid_t>& processes);

}  // namespace godwit
