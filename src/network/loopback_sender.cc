#include "network/loopback_sender.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "kernel/netns.h"
#include "network/ip_address.h"

namespace godwit::network {
namespace {

Result<ScopedFd> raw_socket(int netns_fd, int family) {
  return in_netns(netns_fd, [&]() -> Result<ScopedFd> {
    ScopedFd made(::socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));  // with its own IP headers
    if (!made) return fail_errno("raw socket");
    return made;
  });
}

}  // namespace

Result<> LoopbackSender::send(std::string_view packet, std::string_view destination) {
  const bool v4 = is_v4(destination);
  ScopedFd& socket = v4 ? v4_ : v6_;
  if (!socket) {
    TRY_ASSIGN(socket, raw_socket(netns_fd_, v4 ? AF_INET : AF_INET6));
  }
  const SocketAddress to = socket_address(destination, 0);
  if (::sendto(socket.get(), packet.data(), packet.size(), 0, to.get(), to.size) < 0)
    return fail_errno("sending over loopback");
  return {};
}

}  // namespace godwit::network
