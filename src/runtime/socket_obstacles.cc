#include "runtime/socket_obstacles.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "base/poll.h"
#include "runtime/int_option.h"
#include "runtime/urgent_data.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

// Newer than Debian 12's headers.
constexpr int kProtocolMptcp = 262, kFamilySmc = 43, kFamilyXdp = 44;

constexpr int kTcpAoInfo = 40;         // linux/tcp.h: TCP_AO_INFO
constexpr int kNetlinkGroupsMax = 32;  // that CRIU carries

constexpr auto kLookAgainAfter = 10ms;
constexpr int kLooks = 50;  // half a second: a program that is awake had its turn

// Whether IT_IS stays so while a program that is awake would have changed it.
bool lasts(const std::function<bool()>& it_is) {
  for (int look = 0; look < kLooks; ++look) {
    if (look > 0) std::this_thread::sleep_for(kLookAgainAfter);
    if (!it_is()) return false;
  }
  return true;
}

std::string in_family(int family) {
  switch (family) {
    case AF_VSOCK:
      return "a socket to its virtual machine's host (vsock)";
    case AF_ALG:
      return "a socket of the kernel's cryptography (AF_ALG)";
    case kFamilyXdp:
      return "an XDP socket";
    case AF_TIPC:
      return "a TIPC socket";
    case kFamilySmc:
      return "an SMC socket";
    case AF_RDS:
      return "an RDS socket";
    default:
      return fmt::format("a socket of address family {}", family);
  }
}

std::string in_protocol(int protocol) {
  switch (protocol) {
    case kProtocolMptcp:
      return "a Multipath TCP socket (a Go program opens none with GODEBUG=multipathtcp=0)";
    case IPPROTO_SCTP:
      return "an SCTP socket";
    case IPPROTO_DCCP:
      return "a DCCP socket";
    default:
      return fmt::format("a socket of IP protocol {}", protocol);
  }
}

int port_of(int socket) {
  sockaddr_in6 address{};  // the port is at the same place in sockaddr_in
  socklen_t length = sizeof address;
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0 ? ntohs(address.sin6_port) : 0;
}

// Of a listening socket; 0 for others.
uint32_t unaccepted(int socket) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  return info.tcpi_state == TCP_LISTEN ? info.tcpi_unacked : 0;
}

// A program that is busy accepts one after the other, and others may come as fast: the number falls for moments.
bool accepts_none(int listening) {
  uint32_t before = 0;
  return lasts([&] {
    const uint32_t waiting = unaccepted(listening);
    return waiting > 0 && waiting >= std::exchange(before, waiting);
  });
}

std::string in_tcp(int socket) {
  char layer[17] = {};
  socklen_t length = sizeof layer - 1;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_ULP, layer, &length) == 0 && layer[0] != '\0')
    return fmt::format("a TCP socket with the kernel's {}", std::string_view(layer));
  char authentication[256];
  length = sizeof authentication;
  if (::getsockopt(socket, IPPROTO_TCP, kTcpAoInfo, authentication, &length) == 0)
    return "a TCP socket with the Authentication Option (TCP_AO)";
  if (accepts_none(socket))
    return fmt::format("a socket listening at port {} with connections that the program has not accepted",
                       port_of(socket));
  if (is_ready(socket, POLLPRI) && lasts([&] { return is_ready(socket, POLLPRI) && !urgent_obstacle(socket).empty(); }))
    return urgent_obstacle(socket);
  return "";
}

// CRIU wants to know the link that a local address belongs to, and looks for it in SO_BINDTODEVICE only.
bool has_unknown_link(int socket) {
  sockaddr_in6 address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 || address.sin6_family != AF_INET6 ||
      address.sin6_port == 0 || !IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr))
    return false;
  char device[64] = {};
  length = sizeof device;
  return ::getsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, device, &length) == 0 && length == 0;
}

// The kernel shows filters of the classic kind only.
bool has_bpf_filter(int socket) {
  socklen_t length = 0;
  return ::getsockopt(socket, SOL_SOCKET, SO_GET_FILTER, nullptr, &length) != 0 && errno == EACCES;
}

// What waits to be told of its end is lost, and the kernel counts from 0 again.
bool uses_zero_copy(int socket) { return int_option(socket, SOL_SOCKET, SO_ZEROCOPY).value_or(0) != 0; }

std::string in_inet(int socket) {
  const int type = int_option(socket, SOL_SOCKET, SO_TYPE).value_or(0);
  const int protocol = int_option(socket, SOL_SOCKET, SO_PROTOCOL).value_or(0);
  if (type == SOCK_RAW) return "";
  if (has_unknown_link(socket)) return "a socket bound to a link-local address and not to a device (SO_BINDTODEVICE)";
  if (uses_zero_copy(socket)) return "a socket that sends without copying (SO_ZEROCOPY)";
  switch (protocol) {
    case IPPROTO_TCP:
      return in_tcp(socket);
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
      if (int_option(socket, IPPROTO_UDP, UDP_CORK).value_or(0) != 0) return "a corked UDP socket (UDP_CORK)";
      if (int_option(socket, IPPROTO_UDP, UDP_ENCAP).value_or(0) != 0) return "a UDP socket of a tunnel (UDP_ENCAP)";
      return "";
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return "";
    default:
      return in_protocol(protocol);
  }
}

// Connections to be accepted are carried, but not what was written into them.
std::string in_unix(int socket) {
  if (int_option(socket, SOL_SOCKET, SO_ACCEPTCONN).value_or(0) == 0) return "";
  if (!lasts([&] { return is_ready(socket, POLLIN); })) return "";
  return "a listening UNIX socket with connections that the program has not accepted";
}

bool has_high_groups(int socket) {
  std::array<uint32_t, 64> groups{};
  socklen_t length = sizeof groups;
  if (::getsockopt(socket, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups.data(), &length) != 0) return false;
  return std::any_of(groups.begin() + kNetlinkGroupsMax / 32, groups.end(), [](uint32_t word) { return word != 0; });
}

std::string in_netlink(int socket) {
  if (has_high_groups(socket)) return "a netlink socket in a group above 32";
  if (lasts([&] { return is_ready(socket, POLLIN); })) return "a netlink socket with messages that were not read";
  return "";
}

}  // namespace

std::string obstacle_in_socket(int socket) {
  const auto family = int_option(socket, SOL_SOCKET, SO_DOMAIN);
  if (!family) return "";
  if (has_bpf_filter(socket)) return "a socket whose filter is a BPF program (SO_ATTACH_BPF)";
  switch (*family) {
    case AF_INET:
    case AF_INET6:
      return in_inet(socket);
    case AF_UNIX:
      return in_unix(socket);
    case AF_NETLINK:
      return in_netlink(socket);
    case AF_PACKET:
      return "";
    default:
      return in_family(*family);
  }
}

}  // namespace godwit
