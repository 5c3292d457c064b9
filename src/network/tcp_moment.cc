#include "network/tcp_moment.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <string>
#include <utility>

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

struct Remembered {
  peer::RememberedConnection connection;
  uint32_t ms_left;  // until the kernel forgets it
};

// A mapped address as that of IPv4 that it is on the wire.
std::string address_of(const inet_diag_msg& socket, const __be32 (&words)[4]) {
  const std::string_view bytes(reinterpret_cast<const char*>(words), sizeof(in6_addr));
  if (socket.idiag_family == AF_INET) return std::string(bytes.substr(0, sizeof(in_addr)));
  const bool mapped = bytes.starts_with(std::string_view("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12));
  return std::string(mapped ? bytes.substr(12) : bytes);
}

peer::RememberedConnection described(const inet_diag_msg& socket) {
  peer::RememberedConnection connection;
  connection.set_local(address_of(socket, socket.id.idiag_src));
  connection.set_local_port(ntohs(socket.id.idiag_sport));
  connection.set_remote(address_of(socket, socket.id.idiag_dst));
  connection.set_remote_port(ntohs(socket.id.idiag_dport));
  connection.set_time_wait(socket.idiag_state == TCP_TIME_WAIT);
  return connection;
}

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

Result<std::vector<peer::RememberedConnection>> TcpWatch::remembered() {
  std::vector<Remembered> found;
  TRY(socket_.dump(
      request(kRemembered),
      [&](const NetlinkMessage& message) {
        const auto socket = message.header<inet_diag_msg>();
        if (is_nobodys(socket)) found.push_back({described(socket), socket.idiag_expires});
      },
      [&] { found.clear(); }));
  std::ranges::stable_sort(found, {}, [](const Remembered& each) {
    return std::pair(each.connection.time_wait(), -static_cast<int64_t>(each.ms_left));
  });
  std::vector<peer::RememberedConnection> connections;
  for (Remembered& each : found) connections.push_back(std::move(each.connection));
  return connections;
}

}  // namespace godwit::network
