#include "runtime/socket_obstacles.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>

#include "base/file.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

// Newer than Debian 12's headers.
constexpr int kProtocolMptcp = 262, kFamilySmc = 43, kFamilyXdp = 44;

constexpr auto kLookAgainAfter = 10ms;
constexpr int kLooks = 50;  // a server whose clients come all the time hardly ever has none waiting

std::optional<int> option(int socket, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(socket, level, name, &value, &length) != 0) return std::nullopt;
  return value;
}

bool is_ready(int socket, short events) {
  pollfd asked{.fd = socket, .events = events, .revents = 0};
  return ::poll(&asked, 1, 0) > 0 && (asked.revents & events) != 0;
}

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

std::string in_tcp(int socket) {
  char layer[17] = {};
  socklen_t length = sizeof layer - 1;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_ULP, layer, &length) == 0 && layer[0] != '\0')
    return fmt::format("a TCP socket with the kernel's {}", std::string_view(layer));
  if (lasts([&] { return unaccepted(socket) > 0; }))
    return fmt::format("a socket listening at port {} with connections that the program has not accepted",
                       port_of(socket));
  if (lasts([&] { return is_ready(socket, POLLPRI); })) return "a TCP socket with urgent data that was not read";
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

// A socket is a member if the kernel tells the sources it takes the group from.
bool has_joined(int socket, const MulticastGroup& group) {
  const bool v4 = IN6_IS_ADDR_V4MAPPED(&group.address);
  group_filter filter{};
  filter.gf_interface = static_cast<uint32_t>(group.link);
  if (v4) {
    auto& address = reinterpret_cast<sockaddr_in&>(filter.gf_group);
    address.sin_family = AF_INET;
    std::memcpy(&address.sin_addr, &group.address.s6_addr[12], sizeof address.sin_addr);
  } else {
    auto& address = reinterpret_cast<sockaddr_in6&>(filter.gf_group);
    address.sin6_family = AF_INET6;
    address.sin6_addr = group.address;
  }
  socklen_t length = sizeof filter;
  return ::getsockopt(socket, v4 ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, &filter, &length) == 0;
}

std::string in_groups(int socket, const std::vector<MulticastGroup>& groups) {
  for (const MulticastGroup& group : groups) {
    if (!has_joined(socket, group)) continue;
    char text[INET6_ADDRSTRLEN] = {};
    const bool v4 = IN6_IS_ADDR_V4MAPPED(&group.address);
    ::inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &group.address.s6_addr[12] : group.address.s6_addr, text, sizeof text);
    return fmt::format("a socket that has joined the multicast group {}", text);
  }
  return "";
}

std::string in_inet(int socket, const std::vector<MulticastGroup>& groups) {
  const int type = option(socket, SOL_SOCKET, SO_TYPE).value_or(0);
  const int protocol = option(socket, SOL_SOCKET, SO_PROTOCOL).value_or(0);
  if (type != SOCK_STREAM)
    if (auto joined = in_groups(socket, groups); !joined.empty()) return joined;
  if (type == SOCK_RAW) return "";
  if (has_unknown_link(socket)) return "a socket bound to a link-local address and not to a device (SO_BINDTODEVICE)";
  switch (protocol) {
    case IPPROTO_TCP:
      return in_tcp(socket);
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
      if (option(socket, IPPROTO_UDP, UDP_CORK).value_or(0) != 0) return "a corked UDP socket (UDP_CORK)";
      if (option(socket, IPPROTO_UDP, UDP_ENCAP).value_or(0) != 0) return "a UDP socket of a tunnel (UDP_ENCAP)";
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
  if (option(socket, SOL_SOCKET, SO_ACCEPTCONN).value_or(0) == 0) return "";
  if (!lasts([&] { return is_ready(socket, POLLIN); })) return "";
  return "a listening UNIX socket with connections that the program has not accepted";
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (size_t at = 0; (at = line.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(" \t", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

template <typename Number>
std::optional<Number> parse(std::string_view text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value, base);
  return error == std::errc() && end == text.end() ? std::optional(value) : std::nullopt;
}

// "2  eth0 : 2 V3" and then, indented, "  010163EF  1 0:00000000  0" for each group: the address as the machine holds
// it.
void add_v4_groups(std::string_view igmp, std::vector<MulticastGroup>& groups) {
  int link = 0;
  for (const std::string& line : split_lines(igmp)) {
    const auto words = words_of(line);
    if (words.empty()) continue;
    if (line[0] != '\t') {
      link = parse<int>(words[0], 10).value_or(0);
      continue;
    }
    const auto address = parse<uint32_t>(words[0], 16);
    if (!address || *address == htonl(INADDR_ALLHOSTS_GROUP)) continue;
    MulticastGroup group{.link = link, .address = {}};
    group.address.s6_addr[10] = group.address.s6_addr[11] = 0xff;
    std::memcpy(&group.address.s6_addr[12], &*address, sizeof *address);
    groups.push_back(group);
  }
}

// ff01::1 and ff02::1, and what the kernel joins for each of its addresses (ff02::1:ff00:0/104).
bool is_of_every_host(const in6_addr& group) {
  in6_addr rest = group;
  rest.s6_addr[1] = 0;
  in6_addr all{};
  all.s6_addr[0] = 0xff;
  all.s6_addr[15] = 1;
  constexpr uint8_t kSolicitedNode[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  return std::memcmp(&rest, &all, sizeof all) == 0 || std::memcmp(&group, kSolicitedNode, sizeof kSolicitedNode) == 0;
}

// "2    eth0            ff050000000000000000000000009901     1 00000004 0"
void add_v6_groups(std::string_view igmp6, std::vector<MulticastGroup>& groups) {
  for (const std::string& line : split_lines(igmp6)) {
    const auto words = words_of(line);
    if (words.size() < 3 || words[2].size() != 2 * sizeof(in6_addr)) continue;
    MulticastGroup group{.link = parse<int>(words[0], 10).value_or(0), .address = {}};
    for (size_t i = 0; i < sizeof(in6_addr); ++i)
      group.address.s6_addr[i] = parse<uint8_t>(words[2].substr(2 * i, 2), 16).value_or(0);
    if (!is_of_every_host(group.address)) groups.push_back(group);
  }
}

}  // namespace

std::vector<MulticastGroup> joined_groups(std::string_view igmp, std::string_view igmp6) {
  std::vector<MulticastGroup> groups;
  add_v4_groups(igmp, groups);
  add_v6_groups(igmp6, groups);
  return groups;
}

std::string obstacle_in_socket(int socket, const std::vector<MulticastGroup>& groups) {
  const auto family = option(socket, SOL_SOCKET, SO_DOMAIN);
  if (!family) return "";
  switch (*family) {
    case AF_INET:
    case AF_INET6:
      return in_inet(socket, groups);
    case AF_UNIX:
      return in_unix(socket);
    case AF_NETLINK:
      return lasts([&] { return is_ready(socket, POLLIN); }) ? "a netlink socket with messages that were not read" : "";
    case AF_PACKET:
      return "";
    default:
      return in_family(*family);
  }
}

}  // namespace godwit
