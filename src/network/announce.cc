#include "network/announce.h"

#include <linux/if_packet.h>
#include <sys/socket.h>

#include <map>

#include "kernel/netns.h"
#include "network/announcement_frame.h"
#include "network/capture.h"
#include "network/link_message.h"
#include "network/mac.h"

namespace godwit::network {

Result<Announcer> Announcer::open(int netns_fd, const peer::NetworkState& state) {
  std::map<std::string, MacAddress> macs;
  for (const peer::Link& link : state.links()) {
    if (link.loopback() || !link.up()) continue;
    TRY_ASSIGN(macs[link.name()], unicast_mac(link.mac()));
  }
  TRY_ASSIGN(ScopedNetns inside, ScopedNetns::enter(netns_fd));
  TRY_ASSIGN(RouteSocket route_socket, RouteSocket::open());
  TRY_ASSIGN(LinkNames names, list_link_names(route_socket));
  std::vector<Frame> frames;
  for (const peer::Address& address : state.addresses()) {
    auto mac = macs.find(address.link());
    if (mac == macs.end()) continue;
    TRY_ASSIGN(uint32_t index, names.index(address.link()));
    std::string bytes = announcement_frame(mac->second, address.family(), address.address());
    if (!bytes.empty()) frames.push_back({static_cast<int>(index), std::move(bytes), address.family() == AF_INET6});
  }
  ScopedFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("packet socket");
  return Announcer(std::move(socket), std::move(frames));
}

Result<> Announcer::send() {
  return send_if([](const Frame&) { return true; });
}

Result<> Announcer::repeat(int number) {
  if (number == kAnnouncementRepeats) return send();
  return send_if([](const Frame& frame) { return frame.advertisement; });
}

uint64_t Announcer::netns_cookie() const {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  (void)::getsockopt(socket_.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size);
  return cookie;
}

Result<> Announcer::send_if(bool (*chosen)(const Frame&)) {
  Result<> verdict;
  for (const Frame& frame : frames_) {
    if (!chosen(frame)) continue;
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = frame.link_index;
    if (sendto(socket_.get(), frame.bytes.data(), frame.bytes.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to),
               sizeof(to)) < 0)
      verdict = fail_errno("announcing an address");
  }
  return verdict;
}

Result<> announce(int netns_fd, const peer::NetworkState& state) {
  TRY_ASSIGN(Announcer announcer, Announcer::open(netns_fd, state));
  return announcer.send();
}

Result<> announce_again(int netns_fd) {
  TRY_ASSIGN(const peer::NetworkState state, capture_namespace(netns_fd));
  return announce(netns_fd, state);
}

}  // namespace godwit::network
