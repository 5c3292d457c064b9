#include "kernel/pidfd.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace godwit {

Result<ScopedFd> open_pidfd(pid_t pid) {
  ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno("pidfd_open");
  return pidfd;
}

Result<pid_t> peer_pid(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return fail_errno("SO_PEERCRED");
  return peer.pid;
}

Result<ScopedFd> open_peer_pidfd(int socket) {
  TRY_ASSIGN(pid_t pid, peer_pid(socket));
  return open_pidfd(pid);
}

Result<ScopedFd> copy_fd_from(int pidfd, int fd) {
  ScopedFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
  if (!copy) return fail_errno("pidfd_getfd");
  return copy;
}

void kill_if_alive(int pidfd) { (void)::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0); }

}  // namespace godwit
