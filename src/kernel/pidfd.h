// pidfds (pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2)): a process that cannot be mistaken for a later one of
// the same number. Linux 5.6. The C library's header for them lacks extern "C" in Debian 12.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// PIDFD becomes readable when the process has ended.
Result<ScopedFd> open_pidfd(pid_t pid);

// The process at the other end of a unix socket, as of its connect().
Result<pid_t> peer_pid(int socket);
Result<ScopedFd> open_peer_pidfd(int socket);

// A descriptor for what FD is in that process.
Result<ScopedFd> copy_fd_from(int pidfd, int fd);

// Fine if it has ended.
void kill_if_alive(int pidfd);

}  // namespace godwit
