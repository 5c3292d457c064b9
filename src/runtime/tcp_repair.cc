#include "runtime/tcp_repair.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/scoped_fd.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"

namespace godwit {

namespace {

bool is_tcp(int socket) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == IPPROTO_TCP;
}

Result<> end_repair(int socket) {
  if (!is_tcp(socket)) return {};
  int repair = 0;
  socklen_t length = sizeof repair;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &repair, &length) != 0) return fail_errno("TCP_REPAIR");
  if (repair != 1) return {};
  int reuse = 0;
  length = sizeof reuse;
  if (::getsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &reuse, &length) != 0) return fail_errno("SO_REUSEADDR");
  const int off = 0;
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off) != 0) return fail_errno("TCP_REPAIR");
  // The end of repair mode resets it. 2 is what repair mode itself has set: what was before is not known.
  if (reuse == 1 && ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) != 0)
    return fail_errno("SO_REUSEADDR");
  return {};
}

}  // namespace

Result<> end_tcp_repair(const std::vector<pid_t>& processes) {
  Result<> result;
  for (pid_t pid : processes) {
    const auto pidfd = open_pidfd(pid);
    auto files = proc::open_files(pid);
    if (!pidfd || !files) continue;  // it has ended
    for (const proc::OpenFile& file : *files) {
      if (!file.link.starts_with("socket:")) continue;
      const auto socket = copy_fd_from(pidfd->get(), file.fd);
      auto ended = socket ? end_repair(socket->get()) : Result<>(std::unexpected(socket.error()));
      if (!ended) result = std::move(ended);
    }
  }
  return result;
}

}  // namespace godwit
