// Gives the TCP sockets of processes back to them after a CRIU that was dumping them has died. CRIU leaves its sockets
// in repair mode (TCP_REPAIR, tcp(7)): reads and writes fail, and the kernel sends nothing.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.h"

namespace godwit {

// PROCESSES must stand still until it returns: a program that meets a socket in repair mode sees errors. An error: some
// socket could not be reached; the others are done.
Result<> end_tcp_repair(const std::vector<pid_t>& processes);

}  // namespace godwit
