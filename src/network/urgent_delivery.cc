#include "network/urgent_delivery.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/poll.h"
#include "network/tcp_segment.h"

namespace godwit::network {
namespace {

using namespace std::chrono_literals;

// A packet of less than a loopback's MTU, and what the kernel allocates for one (16 KiB) is nearly full.
constexpr size_t kSegmentBytes = 15 << 10;
// The kernel has taken a segment over loopback when it has been sent, unless this processor has too much to do.
constexpr auto kTakenWithin = 100ms;
constexpr auto kLookAgainAfter = 20us;

Result<uint32_t> sequence_of(int socket, int queue) {
  uint32_t sequence = 0;
  socklen_t length = sizeof sequence;
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue) != 0 ||
      ::getsockopt(socket, IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &length) != 0)
    return fail_errno("TCP_QUEUE_SEQ");
  return sequence;
}

struct End {
  std::string address;
  uint16_t port = 0;
};

End end_of(const sockaddr_storage& told) {
  if (told.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(told);
    return {.address = {reinterpret_cast<const char*>(&v4.sin_addr), sizeof v4.sin_addr}, .port = ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(told);
  const size_t skipped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? sizeof(in6_addr) - sizeof(in_addr) : 0;
  return {.address = {reinterpret_cast<const char*>(&v6.sin6_addr) + skipped, sizeof(in6_addr) - skipped},
          .port = ntohs(v6.sin6_port)};
}

Result<tcp_repair_window> windows_of(int socket) {
  tcp_repair_window windows{};
  socklen_t length = sizeof windows;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows, &length) != 0)
    return fail_errno("TCP_REPAIR_WINDOW");
  return windows;
}

// What the peer has granted is what it was BEFORE.
Result<> grant_again(int socket, const tcp_repair_window& before) {
  TRY_ASSIGN(tcp_repair_window windows, windows_of(socket));
  windows.snd_wl1 = before.snd_wl1;
  windows.snd_wnd = before.snd_wnd;
  windows.max_window = before.max_window;
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows, sizeof windows) != 0)
    return fail_errno("TCP_REPAIR_WINDOW");
  return {};
}

// The next that SOCKET expects, without data. It grants no window, or what SOCKET has to send would be lost: nobody
// hears it yet.
Result<TcpSegment> next_from_peer(int socket) {
  sockaddr_storage here{}, there{};
  socklen_t length = sizeof here;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&here), &length) != 0) return fail_errno("getsockname");
  length = sizeof there;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&there), &length) != 0) return fail_errno("getpeername");
  const End to = end_of(here), from = end_of(there);
  int unacknowledged = 0;
  if (::ioctl(socket, SIOCOUTQ, &unacknowledged) != 0) return fail_errno("SIOCOUTQ");
  TRY_ASSIGN(const uint32_t sent, sequence_of(socket, TCP_SEND_QUEUE));
  TRY_ASSIGN(const uint32_t received, sequence_of(socket, TCP_RECV_QUEUE));
  return TcpSegment{.source = from.address,
                    .destination = to.address,
                    .source_port = from.port,
                    .destination_port = to.port,
                    .sequence = received,
                    .acknowledgement = sent - static_cast<uint32_t>(unacknowledged),
                    .flags = TH_ACK,
                    .window = 0};
}

Result<> await_received(int socket, uint32_t end) {
  for (const Deadline deadline = Clock::now() + kTakenWithin;;) {
    TRY_ASSIGN(const uint32_t received, sequence_of(socket, TCP_RECV_QUEUE));
    if (received == end) return {};
    if (Clock::now() >= deadline) return fail("a connection does not take its urgent data");
    std::this_thread::sleep_for(kLookAgainAfter);
  }
}

}  // namespace

Result<> deliver_urgent(int socket, const peer::UrgentData& urgent, LoopbackSender& inside) {
  TRY_ASSIGN(const tcp_repair_window before, windows_of(socket));
  TRY_ASSIGN(TcpSegment segment, next_from_peer(socket));
  segment.flags |= TH_URG;
  for (size_t at = 0; at < urgent.data().size(); at += kSegmentBytes) {
    segment.data = urgent.data().substr(at, kSegmentBytes);
    TRY_DOING("delivering urgent data", inside.send(tcp_packet(segment), segment.destination));
    segment.sequence += static_cast<uint32_t>(segment.data.size());
    segment.flags &= ~TH_URG;
  }
  TRY(await_received(socket, segment.sequence));
  TRY(grant_again(socket, before));
  if (!is_ready(socket, POLLPRI)) return fail("a connection does not know its data as urgent");
  char taken = 0;
  if (urgent.taken() && ::recv(socket, &taken, 1, MSG_OOB) != 1) return fail_errno("taking urgent data");
  return {};
}

}  // namespace godwit::network
