#include "network/frame_delivery.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/identifier.h"
#include "kernel/rtnetlink.h"

namespace godwit::network {
namespace {

// How long a full send buffer may take to empty; a veth takes frames as fast as they come.
constexpr int kSendWaitMs = 100;

bool is_for(const HostEnd& end, const std::string& frame) {
  return (frame[0] & 1) || frame.compare(0, 6, as_bytes(end.container_mac)) == 0;
}

// False: the frame itself is refused.
Result<bool> send_frame(int socket, uint32_t link_index, const std::string& frame) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(link_index);
  while (sendto(socket, frame.data(), frame.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof(to)) < 0) {
    if (errno == EINTR) continue;
    if (errno == EMSGSIZE || errno == EINVAL) return false;
    if (errno != EAGAIN && errno != ENOBUFS) return fail_errno("delivering held frames");
    pollfd writable{.fd = socket, .events = POLLOUT, .revents = 0};
    if (poll(&writable, 1, kSendWaitMs) <= 0) return false;
  }
  return true;
}

}  // namespace

Result<FrameSender> FrameSender::open(std::span<const HostEnd> ends, const std::string& id, char use) {
  TRY(check_id(id));
  // Protocol 0: sends, and receives nothing.
  ScopedFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("packet socket");
  FrameSender sender(std::move(socket));
  for (const HostEnd& end : ends) {
    if (!end.macvlan || sender.entrances_.contains(end.parent_index)) continue;
    TRY_ASSIGN(RouteSocket route, RouteSocket::open());
    const std::string name = std::string("g") + use + id.substr(0, 10) + std::to_string(sender.entrances_.size());
    auto entrance = MacvlanEntrance::make(route, name, end.parent_index);
    if (entrance)
      sender.entrances_.emplace(end.parent_index, std::move(*entrance));
    else
      sender.notes_.push_back("packets that come for a macvlan during the downtime are not delivered: " +
                              entrance.error().text());
  }
  return sender;
}

Result<bool> FrameSender::send_to(const HostEnd& end, const std::string& frame) {
  if (!end.macvlan) return send_frame(socket_.get(), end.index, frame);
  auto entrance = entrances_.find(end.parent_index);
  return entrance != entrances_.end() && entrance->second.put(frame, end.container_mac);
}

Result<DeliveryCount> FrameSender::send(std::span<const HostEnd> ends, std::span<const std::string> frames) {
  DeliveryCount count;
  for (const std::string& frame : frames) {
    bool sent = false;
    if (frame.size() >= kFrameBytesMin && frame.size() <= kFrameBytesMax) {
      for (const HostEnd& end : ends) {
        if (!is_for(end, frame)) continue;
        TRY_ASSIGN(bool taken, send_to(end, frame));
        sent |= taken;
      }
    }
    ++(sent ? count.delivered : count.refused);
  }
  return count;
}

Result<DeliveryCount> deliver_frames(std::span<const HostEnd> ends, std::span<const std::string> frames,
                                     const std::string& id) {
  TRY_ASSIGN(FrameSender sender, FrameSender::open(ends, id));
  return sender.send(ends, frames);
}

std::vector<HostEnd> as_host_ends(const std::vector<HostPort>& ports) {
  std::vector<HostEnd> ends;
  for (const HostPort& port : ports)
    ends.push_back({.index = port.macvlan ? 0 : port.index,
                    .name = port.name,
                    .container_mac = port.mac,
                    .bridge_index = 0,
                    .macvlan = port.macvlan,
                    .parent_index = port.macvlan ? port.index : 0});
  return ends;
}

}  // namespace godwit::network
