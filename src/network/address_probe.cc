#include "network/address_probe.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>

#include "kernel/rtnetlink.h"
#include "network/address_text.h"
#include "network/link_message.h"
#include "network/probe_frame.h"

namespace godwit::network {
namespace {

using Wanted = std::map<std::string, std::string>;  // address, and what it is called
using Holders = std::map<std::string, std::string>;

// Sees what arrives at the link from now on.
Result<ScopedFd> open_socket(uint32_t link) {
  ScopedFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("packet socket");
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(link);
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) return fail_errno("packet socket");
  return socket;
}

void take_claims(int socket, const std::vector<MacAddress>& own, const Wanted& wanted, Holders& holders) {
  char frame[2048];
  for (ssize_t bytes; (bytes = recv(socket, frame, sizeof(frame), MSG_DONTWAIT)) > 0;) {
    auto claim = parse_claim({frame, static_cast<size_t>(bytes)});
    if (!claim || std::ranges::find(own, claim->mac) != own.end()) continue;
    if (auto found = wanted.find(claim->address); found != wanted.end())
      holders.emplace(found->second, to_text(claim->mac));
  }
}

void listen_until(int socket, Deadline deadline, const std::vector<MacAddress>& own, const Wanted& wanted,
                  Holders& holders) {
  while (Clock::now() < deadline) {
    pollfd wait{.fd = socket, .events = POLLIN, .revents = 0};
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0))) > 0)
      take_claims(socket, own, wanted, holders);
  }
}

// Addresses of this host itself, which does not answer its own questions.
Result<> take_local(RouteSocket& socket, const Wanted& wanted, Holders& holders) {
  auto each = [&](const NetlinkMessage& message) {
    auto attributes = message.attributes<ifaddrmsg>();
    const std::string_view local = attributes.bytes(IFA_LOCAL);
    auto found = wanted.find(std::string(local.empty() ? attributes.bytes(IFA_ADDRESS) : local));
    if (message.type == RTM_NEWADDR && found != wanted.end()) holders.emplace(found->second, "this host");
  };
  return socket.dump(NetlinkRequest(RTM_GETADDR, 0, ifaddrmsg{}), each, [] {});
}

}  // namespace

Result<std::vector<AddressConflict>> find_conflicts(const std::string& link, const std::vector<MacAddress>& own,
                                                    const std::vector<peer::Address>& addresses) {
  TRY_ASSIGN(RouteSocket route_socket, RouteSocket::open());
  TRY_ASSIGN(const LinkInfo info, find_link(route_socket, link));
  TRY_ASSIGN(const MacAddress mac, unicast_mac(info.mac));
  TRY_ASSIGN(const ScopedFd socket, open_socket(info.index));
  Wanted wanted;
  std::vector<std::string> frames;
  for (const peer::Address& address : addresses) {
    if (address.scope() == RT_SCOPE_HOST || wanted.size() >= kProbedAddressesMax) continue;
    std::string frame = probe_frame(mac, address.family(), address.address());
    if (frame.empty() || !wanted.emplace(address.address(), address_text(address.family(), address.address())).second)
      continue;
    frames.push_back(std::move(frame));
  }
  Holders holders;
  TRY(take_local(route_socket, wanted, holders));
  for (int i = 0; i < kProbes && !frames.empty(); ++i) {
    for (const std::string& frame : frames)
      if (::send(socket.get(), frame.data(), frame.size(), 0) < 0) return fail_errno("asking for addresses on " + link);
    listen_until(socket.get(), Clock::now() + kProbeInterval, own, wanted, holders);
  }
  std::vector<AddressConflict> conflicts;
  for (const auto& [address, holder] : holders) conflicts.push_back({.address = address, .holder = holder});
  return conflicts;
}

Result<PortBehind> find_port_behind(const std::string& bridge, const MacAddress& mac) {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  TRY_ASSIGN(const LinkInfo info, find_link(socket, bridge));
  ndmsg header{};
  header.ndm_family = AF_BRIDGE;
  uint32_t port = 0;
  auto each = [&](const NetlinkMessage& message) {
    auto attributes = message.attributes<ndmsg>();
    const bool of_bridge = attributes.u32(NDA_MASTER) == info.index;
    if (message.type == RTM_NEWNEIGH && of_bridge && attributes.bytes(NDA_LLADDR) == as_bytes(mac))
      port = static_cast<uint32_t>(message.header<ndmsg>().ndm_ifindex);
  };
  TRY(socket.dump(NetlinkRequest(RTM_GETNEIGH, 0, header), each, [&] { port = 0; }));
  if (port == 0) return PortBehind{};
  TRY_ASSIGN(const LinkInfo found, find_link(socket, port));
  return PortBehind{.name = found.name, .mtu = found.mtu};
}

}  // namespace godwit::network
