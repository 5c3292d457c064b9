#include "network/tcp_moment.h"

#include <linux/inet_diag.h>
#include <netinet/tcp.h>

#include "kernel/netns.h"

namespace godwit::network {
namespace {

// Of both IP versions: that one walk of the table is enough is what the older request is good for.
NetlinkRequest request(uint32_t states) {
  inet_diag_req asked{};
  asked.idiag_states = states;
  return NetlinkRequest(TCPDIAG_GETSOCK, 0, asked);
}

constexpr uint32_t kPassing =
    1U << TCP_LISTEN | 1U << TCP_SYN_RECV | 1U << TCP_FIN_WAIT1 | 1U << TCP_CLOSING | 1U << TCP_LAST_ACK;
constexpr uint32_t kRemembered = 1U << TCP_FIN_WAIT2 | 1U << TCP_TIME_WAIT;

bool is_nobodys(const inet_diag_msg& socket) { return socket.idiag_inode == 0; }

void count(const inet_diag_msg& socket, TcpMoment& moment) {
  if (socket.idiag_state == TCP_LISTEN) {
    moment.unaccepted += socket.idiag_rqueue;
  } else if (socket.idiag_state == TCP_SYN_RECV) {
    ++moment.half_open;
  } else if (is_nobodys(socket)) {
    ++moment.closing;
  }
}

}  // namespace

Result<TcpWatch> TcpWatch::open(int netns_fd) {
  TRY_ASSIGN(auto socket, in_netns(netns_fd, [] { return RouteSocket::open_family(NETLINK_SOCK_DIAG); }));
  return TcpWatch(std::move(socket));
}

Result<TcpMoment> TcpWatch::look() {
  TcpMoment moment;
  TRY(socket_.dump(
      request(kPassing), [&](const NetlinkMessage& message) { count(message.header<inet_diag_msg>(), moment); },
      [&] { moment = {}; }));
  return moment;
}

Result<uint64_t> TcpWatch::count_remembered() {
  uint64_t remembered = 0;
  TRY(socket_.dump(
      request(kRemembered),
      [&](const NetlinkMessage& message) { remembered += is_nobodys(message.header<inet_diag_msg>()) ? 1 : 0; },
      [&] { remembered = 0; }));
  return remembered;
}

}  // namespace godwit::network
