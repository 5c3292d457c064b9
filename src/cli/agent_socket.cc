#include "cli/agent_socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/scoped_fd.h"

namespace godwit::cli {

namespace {

constexpr const char* kStart =
    "start it with 'systemctl start godwitd' (a lab's agents: 'tools/lab up'), or name another "
    "socket with --socket or GODWIT_SOCKET";

Error explained(const std::string& path, int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR:
      return Error("the agent is not running: there is no socket " + path + "; " + kStart, code);
    case ECONNREFUSED:
      return Error("the agent is not running: nobody listens on " + path + "; " + kStart, code);
    case EACCES:
    case EPERM:
      return Error("permission denied on the agent's socket " + path +
                       ": be root, or a member of the group godwit ('usermod -aG godwit USER', "
                       "then log in again)",
                   code);
    default:
      return Error("cannot connect to the agent's socket " + path + ": " + std::strerror(code), code);
  }
}

}  // namespace

Result<> probe_agent_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(explained(path, path.empty() ? EINVAL : ENAMETOOLONG));
  std::memcpy(address.sun_path, path.data(), path.size());

  const ScopedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("socket");
  // Safety: every socket address starts with its family; this is how connect(2) takes one.
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  // EAGAIN: the agent's backlog is full, so there is an agent.
  if (::connect(fd.get(), generic, sizeof address) != 0 && errno != EAGAIN) return fail(explained(path, errno));
  return {};
}

}  // namespace godwit::cli
