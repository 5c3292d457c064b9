#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <thread>

#include "base/clock.h"
#include "kernel/netns.h"
#include "network/ip_address.h"
#include "network/loopback_sender.h"
#include "network/remembered_connections.h"
#include "network/tcp_segment.h"

namespace godwit::network {
namespace {

using namespace std::chrono_literals;

// The kernel has taken a segment over loopback when it has been sent, unless this processor has too much to do.
constexpr auto kTakenWithin = 20ms;
constexpr auto kLookAgainAfter = 20us;
// Then the container's own rules are in the way (nftables), and each more would add to the downtime.
constexpr size_t kRefusedMax = 3;
constexpr uint32_t kPortMax = 65535;

Result<> set(const ScopedFd& socket, int level, int option, int value) {
  if (::setsockopt(socket.get(), level, option, &value, sizeof value) != 0) return fail_errno("setsockopt");
  return {};
}

Result<> set_tcp(const ScopedFd& socket, int option, uint32_t value) {
  return set(socket, IPPROTO_TCP, option, static_cast<int>(value));
}

// As if it came from the peer; SEQUENCE: of its end.
TcpSegment from_peer(const peer::RememberedConnection& connection, uint32_t sequence, uint8_t flags) {
  TcpSegment segment{.source = connection.remote(),
                     .destination = connection.local(),
                     .source_port = static_cast<uint16_t>(connection.remote_port()),
                     .destination_port = static_cast<uint16_t>(connection.local_port()),
                     .sequence = sequence,
                     .acknowledgement = connection.sent_next(),
                     .flags = flags};
  if (connection.has_timestamps())
    segment.timestamps = {.value = connection.timestamp_echo(), .echo = connection.timestamp()};
  return segment;
}

Result<> await_state(const ScopedFd& socket, uint8_t state) {
  for (const Deadline deadline = Clock::now() + kTakenWithin;;) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return fail_errno("TCP_INFO");
    if (info.tcpi_state == state) return {};
    if (Clock::now() >= deadline) return fail("a connection does not come to its state");
    std::this_thread::sleep_for(kLookAgainAfter);
  }
}

// With its FIN sent, as far as the kernel knows. In repair mode (tcp(7)): nothing is sent, and a close leaves nothing.
Result<ScopedFd> make_finished(const peer::RememberedConnection& connection, uint32_t received_next) {
  ScopedFd socket(::socket(is_v4(connection.local()) ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  TRY(set_tcp(socket, TCP_REPAIR, TCP_REPAIR_ON));
  TRY(set_tcp(socket, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE));
  TRY(set_tcp(socket, TCP_QUEUE_SEQ, received_next));
  TRY(set_tcp(socket, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE));
  TRY(set_tcp(socket, TCP_QUEUE_SEQ, connection.sent_next() - 1));
  const SocketAddress local = socket_address(connection.local(), static_cast<uint16_t>(connection.local_port()));
  const SocketAddress remote = socket_address(connection.remote(), static_cast<uint16_t>(connection.remote_port()));
  if (::bind(socket.get(), local.get(), local.size) != 0) return fail_errno("bind");
  if (::connect(socket.get(), remote.get(), remote.size) != 0) return fail_errno("connect");
  if (connection.has_timestamps()) {
    const tcp_repair_opt option{.opt_code = TCPOPT_TIMESTAMP, .opt_val = 0};
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_OPTIONS, &option, sizeof option) != 0)
      return fail_errno("TCP_REPAIR_OPTIONS");
    // The lowest bit would say that it counts microseconds (Linux 6.7). What the peer has seen must not come again.
    TRY(set_tcp(socket, TCP_TIMESTAMP, (connection.timestamp() + 1) & ~1U));
  }
  if (::shutdown(socket.get(), SHUT_WR) != 0) return fail_errno("shutdown");
  return socket;
}

Result<> make(const peer::RememberedConnection& connection, LoopbackSender& loopback) {
  // The peer's FIN is the last that was received.
  const uint32_t before_fin = connection.received_next() - (connection.time_wait() ? 1 : 0);
  TRY_ASSIGN(const ScopedFd socket, make_finished(connection, before_fin));
  TRY(loopback.send(tcp_packet(from_peer(connection, before_fin, TH_ACK)), connection.local()));
  TRY(await_state(socket, TCP_FIN_WAIT2));
  if (connection.time_wait()) {
    TRY(loopback.send(tcp_packet(from_peer(connection, before_fin, TH_ACK | TH_FIN)), connection.local()));
    return await_state(socket, TCP_CLOSE);  // the socket; what the kernel remembers has left it
  }
  TRY(set_tcp(socket, TCP_REPAIR, static_cast<uint32_t>(TCP_REPAIR_OFF_NO_WP)));
  // Or nobody could listen at the port as long as the kernel remembers this.
  return set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
}

}  // namespace

std::string note_of_forgotten(size_t connections) {
  return fmt::format(
      "left behind: the kernel's memory of {} TCP connections that the program has closed (FIN-WAIT-2, TIME-WAIT): a "
      "peer that still closes its end is answered with a reset",
      connections);
}

Result<> check_remembered(const peer::RememberedConnection& connection) {
  const size_t size = connection.local().size();
  if ((size != sizeof(in_addr) && size != sizeof(in6_addr)) || connection.remote().size() != size)
    return fail("a remembered connection with odd addresses");
  if (connection.local_port() - 1 >= kPortMax || connection.remote_port() - 1 >= kPortMax)
    return fail("a remembered connection with an odd port");
  return {};
}

Result<size_t> make_remembered(const RecreatedNamespace& target,
                               const std::vector<peer::RememberedConnection>& connections) {
  if (!target.silent()) return connections.size();
  return in_netns(target.netns_fd(), [&]() -> Result<size_t> {
    LoopbackSender loopback(target.netns_fd());
    size_t made = 0, refused = 0;
    for (const peer::RememberedConnection& connection : connections) {
      ++(make(connection, loopback) ? made : refused);
      if (refused >= kRefusedMax) break;
    }
    return connections.size() - made;
  });
}

}  // namespace godwit::network
