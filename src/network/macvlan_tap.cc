#include "network/macvlan_tap.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "base/log.h"
#include "network/link_message.h"
#include "network/macvlan_message.h"

namespace godwit::network {
namespace {

// What arrives while the reader is not scheduled.
constexpr int kBufferBytes = 8 << 20;

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

Result<ScopedFd> open_socket(uint32_t parent) {
  ScopedFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("packet socket");
  const int on = 1;
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0)  // since Linux 4.20
    return fail_errno("PACKET_IGNORE_OUTGOING");
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof(kBufferBytes));
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(parent);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) return fail_errno("packet socket");
  return fd;
}

}  // namespace

Result<MacvlanTap> MacvlanTap::make(RouteSocket& socket, const std::string& name, const HostPort& port) {
  TRY_ASSIGN(ScopedFd fd, open_socket(port.index));
  TRY_DOING("the macvlan " + name, socket.call(injector_request(name, port.index, port.mtu)));
  MacvlanTap tap(std::move(fd),
                 {.index = 0, .name = name, .container_mac = port.mac, .bridge_index = 0, .macvlan = true});
  auto link = find_link(socket, name);
  auto up = link ? Result<>() : Result<>(fail(link.error()));
  if (up) {
    tap.end_.index = link->index;
    (void)socket.call(no_generated_addresses_request(link->index));  // a kernel without IPv6
    up = socket.call(set_up_request(link->index));
  }
  if (up) return tap;
  tap.remove(socket);
  return fail(std::move(up.error()).during("the macvlan " + name));
}

void MacvlanTap::remove(RouteSocket& socket) {
  if (auto gone = socket.call(delete_link_request(end_.name)); !gone)
    log::warn("{}: {}", end_.name, gone.error().text());
}

}  // namespace godwit::network
