#include "runtime/socket_options.h"

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "base/scoped_fd.h"
#include "kernel/netns.h"
#include "runtime/int_option.h"

namespace godwit {

namespace {

// Kinds of sockets that have an option.
enum Kinds : unsigned {
  kConnection = 1,  // TCP, with a peer
  kIdleTcp = 2,     // TCP, listening or not yet connected
  kDatagram = 4,    // UDP, UDP-Lite
  kRaw = 8,         // also ICMP "ping" sockets
  kUnix = 16,
  kNetlink = 32,
  kPacket = 64,
  kTcp = kConnection | kIdleTcp,
  kIp = kDatagram | kRaw,
  kInet = kTcp | kIp,
  kAll = kInet | kUnix | kNetlink | kPacket,
};
enum Versions : unsigned { kV4 = 1, kV6 = 2, kAny = 3 };

struct Rule {
  int level;
  int name;
  const char* text;
  unsigned kinds;
  unsigned versions = kAny;  // of IP, where there is one
  size_t bytes_max = sizeof(int);
  size_t bytes_min = sizeof(int);
  bool needed = false;
};

constexpr int kSolRaw = 255, kSolNetlink = 270, kSolPacket = 263;

// In the order in which they are set. Numbers stand where Debian 12's headers have no name: asm-generic/socket.h,
// linux/tcp.h, linux/in.h. An option that this kernel does not know is left out.
//
// Not here: what is gone when it has been read once, what the kernel changes by itself (TCP_QUICKACK, and of a
// connection TCP_WINDOW_CLAMP and SO_INCOMING_CPU), and what cannot be read at all (BPF programs, IP_MULTICAST_IF if it
// was set by index).
constexpr Rule kRules[] = {
    {SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP", kAll},
    {SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS", kAll},
    {SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING", kAll, kAny, 8},
    {SOL_SOCKET, 63, "SO_TIMESTAMP_NEW", kAll & ~kConnection},
    {SOL_SOCKET, 64, "SO_TIMESTAMPNS_NEW", kAll & ~kConnection},
    {SOL_SOCKET, 65, "SO_TIMESTAMPING_NEW", kAll & ~kConnection, kAny, 8},
    {SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL", kIp | kNetlink | kPacket},
    {SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF", kTcp | kDatagram | kUnix},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE", kAll & ~kConnection},
    {SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL", kInet},
    {SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", kInet, kAny, 8},
    {SOL_SOCKET, SO_INCOMING_CPU, "SO_INCOMING_CPU", kIdleTcp | kDatagram},
    {SOL_SOCKET, 61, "SO_TXTIME", kIp | kPacket, kAny, 8, 8},
    {SOL_SOCKET, 69, "SO_PREFER_BUSY_POLL", kInet},
    {SOL_SOCKET, 75, "SO_RCVMARK", kIp},
    {SOL_SOCKET, 76, "SO_PASSPIDFD", kUnix},
    {SOL_SOCKET, 82, "SO_RCVPRIORITY", kIp},
    {SOL_SOCKET, 83, "SO_PASSRIGHTS", kUnix},

    {IPPROTO_TCP, TCP_CONGESTION, "TCP_CONGESTION", kTcp, kAny, 16, 1},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", kTcp},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", kTcp},
    {IPPROTO_TCP, TCP_LINGER2, "TCP_LINGER2", kTcp},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS", kTcp},
    {IPPROTO_TCP, 36, "TCP_INQ", kTcp},
    {IPPROTO_TCP, 37, "TCP_TX_DELAY", kTcp},
    {IPPROTO_TCP, 44, "TCP_RTO_MAX_MS", kTcp},
    {IPPROTO_TCP, TCP_SYNCNT, "TCP_SYNCNT", kIdleTcp},
    {IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG", kIdleTcp},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT", kIdleTcp},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP", kIdleTcp},
    {IPPROTO_TCP, TCP_FASTOPEN, "TCP_FASTOPEN", kIdleTcp},
    {IPPROTO_TCP, TCP_SAVE_SYN, "TCP_SAVE_SYN", kIdleTcp},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT", kIdleTcp},
    {IPPROTO_TCP, TCP_FASTOPEN_KEY, "TCP_FASTOPEN_KEY", kIdleTcp, kAny, 32, 16},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, "TCP_FASTOPEN_NO_COOKIE", kIdleTcp},

    {IPPROTO_IP, IP_TOS, "IP_TOS", kInet, kV6},  // of packets to mapped addresses
    {IPPROTO_IP, IP_TTL, "IP_TTL", kIp | kIdleTcp, kV6},
    {IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO", kIp, kV6},
    {IPPROTO_IP, IP_MTU_DISCOVER, "IP_MTU_DISCOVER", kInet},
    {IPPROTO_IP, IP_RECVERR, "IP_RECVERR", kInet},
    {IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL", kIp},
    {IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS", kIp},
    {IPPROTO_IP, IP_RECVOPTS, "IP_RECVOPTS", kIp, kV4},
    {IPPROTO_IP, IP_RETOPTS, "IP_RETOPTS", kIp, kV4},
    {IPPROTO_IP, IP_PASSSEC, "IP_PASSSEC", kIp, kV4},
    {IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT", kInet},
    {IPPROTO_IP, IP_ORIGDSTADDR, "IP_RECVORIGDSTADDR", kIp},
    {IPPROTO_IP, IP_MINTTL, "IP_MINTTL", kInet, kV4, sizeof(int), sizeof(int), true},
    {IPPROTO_IP, IP_CHECKSUM, "IP_CHECKSUM", kIp, kV4},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", kIdleTcp | kIp},
    {IPPROTO_IP, IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE", kIp, kV4},
    {IPPROTO_IP, IP_RECVERR_RFC4884, "IP_RECVERR_RFC4884", kIp, kV4},
    {IPPROTO_IP, IP_MULTICAST_IF, "IP_MULTICAST_IF", kIp, kAny, sizeof(in_addr)},
    {IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL", kIp},
    {IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", kIp},
    {IPPROTO_IP, IP_MULTICAST_ALL, "IP_MULTICAST_ALL", kIp},
    {IPPROTO_IP, IP_UNICAST_IF, "IP_UNICAST_IF", kIdleTcp | kIp},
    {IPPROTO_IP, 51, "IP_LOCAL_PORT_RANGE", kIdleTcp | kIp},

    {IPPROTO_IPV6, IPV6_TCLASS, "IPV6_TCLASS", kInet, kV6},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", kInet, kV6},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER", kInet, kV6},
    {IPPROTO_IPV6, IPV6_RECVERR, "IPV6_RECVERR", kInet, kV6},
    {IPPROTO_IPV6, 70, "IPV6_AUTOFLOWLABEL", kInet, kV6},
    {IPPROTO_IPV6, 73, "IPV6_MINHOPCOUNT", kInet, kV6, sizeof(int), sizeof(int), true},
    {IPPROTO_IPV6, 31, "IPV6_RECVERR_RFC4884", kIp, kV6},
    {IPPROTO_IPV6, 33, "IPV6_FLOWINFO_SEND", kIdleTcp | kIp, kV6},
    {IPPROTO_IPV6, IPV6_2292PKTINFO, "IPV6_2292PKTINFO", kIp, kV6},
    {IPPROTO_IPV6, IPV6_2292HOPLIMIT, "IPV6_2292HOPLIMIT", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVHOPOPTS, "IPV6_RECVHOPOPTS", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVRTHDR, "IPV6_RECVRTHDR", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVDSTOPTS, "IPV6_RECVDSTOPTS", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU", kIp, kV6},
    {IPPROTO_IPV6, IPV6_DONTFRAG, "IPV6_DONTFRAG", kIp, kV6},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS", kInet, kV6},
    {IPPROTO_IPV6, 72, "IPV6_ADDR_PREFERENCES", kIdleTcp | kIp, kV6},
    {IPPROTO_IPV6, 74, "IPV6_RECVORIGDSTADDR", kIp, kV6},
    {IPPROTO_IPV6, 77, "IPV6_RECVFRAGSIZE", kIp, kV6},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", kIp, kV6},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", kIp, kV6},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", kIp, kV6},
    {IPPROTO_IPV6, 29, "IPV6_MULTICAST_ALL", kIp, kV6},
    {IPPROTO_IPV6, 76, "IPV6_UNICAST_IF", kIdleTcp | kIp, kV6},

    {IPPROTO_UDP, 101, "UDP_NO_CHECK6_TX", kDatagram},
    {IPPROTO_UDP, 102, "UDP_NO_CHECK6_RX", kDatagram},
    {IPPROTO_UDP, 103, "UDP_SEGMENT", kDatagram},
    {IPPROTO_UDP, 104, "UDP_GRO", kDatagram},
    {kSolRaw, IPV6_CHECKSUM, "IPV6_CHECKSUM", kRaw, kV6},

    {kSolNetlink, NETLINK_PKTINFO, "NETLINK_PKTINFO", kNetlink},
    {kSolNetlink, NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR", kNetlink},
    {kSolNetlink, NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS", kNetlink},
    {kSolNetlink, NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID", kNetlink},
    {kSolNetlink, NETLINK_CAP_ACK, "NETLINK_CAP_ACK", kNetlink},
    {kSolNetlink, NETLINK_EXT_ACK, "NETLINK_EXT_ACK", kNetlink},
    {kSolNetlink, NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK", kNetlink},
    {kSolPacket, PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS", kPacket},
    {kSolPacket, 23, "PACKET_IGNORE_OUTGOING", kPacket},

    {SOL_SOCKET, SO_LOCK_FILTER, "SO_LOCK_FILTER", kIp | kPacket | kNetlink, kAny, sizeof(int), sizeof(int), true},
};
constexpr size_t kRuleCount = std::size(kRules);
static_assert(kRuleCount <= kOptionsPerSocketMax);

unsigned kinds_of(const SocketKind& kind) {
  switch (kind.family) {
    case AF_UNIX:
      return kUnix;
    case AF_NETLINK:
      return kNetlink;
    case AF_PACKET:
      return kPacket;
    case AF_INET:
    case AF_INET6:
      if (kind.type == SOCK_STREAM) return kind.connection ? kConnection : kIdleTcp;
      return kind.protocol == IPPROTO_UDP || kind.protocol == IPPROTO_UDPLITE ? kDatagram : kRaw;
    default:
      return 0;
  }
}

bool applies(const Rule& rule, const SocketKind& kind) {
  const unsigned version = kind.family == AF_INET ? kV4 : kind.family == AF_INET6 ? kV6 : kAny;
  return (rule.kinds & kinds_of(kind)) != 0 && (rule.versions & version) != 0;
}

// None: there is no such option here.
std::optional<std::string> value_of(int socket, const Rule& rule) {
  char value[32] = {};
  static_assert(sizeof value >= 32);
  auto length = static_cast<socklen_t>(rule.bytes_max);
  if (::getsockopt(socket, rule.level, rule.name, value, &length) != 0) return std::nullopt;
  return std::string(value, std::min<size_t>(length, sizeof value));
}

bool has_size(const Rule& rule, std::string_view value) {
  return value.size() >= rule.bytes_min && value.size() <= rule.bytes_max;
}

bool in_state(int socket, std::initializer_list<int> states) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
         std::ranges::find(states, info.tcpi_state) != states.end();
}

// The kernel answers for some states only what the program has set.
bool tells(int socket, const Rule& rule) {
  return rule.level != IPPROTO_TCP || rule.name != TCP_MAXSEG || in_state(socket, {TCP_CLOSE, TCP_LISTEN});
}

const Rule* rule_of(const peer::SocketOption& option) {
  const auto* found = std::ranges::find_if(kRules, [&](const Rule& rule) {
    return option.level() == static_cast<uint32_t>(rule.level) && option.name() == static_cast<uint32_t>(rule.name);
  });
  return found == std::end(kRules) ? nullptr : found;
}

}  // namespace

std::optional<SocketKind> kind_of(int socket) {
  const auto family = int_option(socket, SOL_SOCKET, SO_DOMAIN);
  const auto type = int_option(socket, SOL_SOCKET, SO_TYPE);
  if (!family || !type) return std::nullopt;
  SocketKind kind{.family = *family, .type = *type, .protocol = 0, .connection = false};
  if (*type == SOCK_STREAM) {
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    kind.connection = *family != AF_UNIX && ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
  } else {
    kind.protocol = int_option(socket, SOL_SOCKET, SO_PROTOCOL).value_or(0);
  }
  return kind;
}

const SocketOptionReader::Values& SocketOptionReader::defaults_of(const SocketKind& kind) {
  const auto [entry, is_new] = defaults_.try_emplace(kind);
  if (!is_new) return entry->second;
  entry->second.resize(kRuleCount);
  auto fresh = in_netns(netns_fd_, [&]() -> Result<ScopedFd> {
    ScopedFd made(::socket(kind.family, kind.type | SOCK_CLOEXEC, kind.protocol));
    if (!made) return fail_errno("a socket to compare with");
    return made;
  });
  for (size_t i = 0; fresh && i < kRuleCount; ++i)
    if (applies(kRules[i], kind)) entry->second[i] = value_of(fresh->get(), kRules[i]);
  return entry->second;
}

std::vector<peer::SocketOption> SocketOptionReader::read(int socket, const SocketKind& kind) {
  std::vector<peer::SocketOption> options;
  const auto& defaults = defaults_of(kind);
  for (size_t i = 0; i < kRuleCount; ++i) {
    if (!defaults[i]) continue;
    auto value = value_of(socket, kRules[i]);
    if (!value || *value == *defaults[i] || !has_size(kRules[i], *value) || !tells(socket, kRules[i])) continue;
    peer::SocketOption& option = options.emplace_back();
    option.set_level(static_cast<uint32_t>(kRules[i].level));
    option.set_name(static_cast<uint32_t>(kRules[i].name));
    option.set_value(std::move(*value));
  }
  return options;
}

Result<> check_socket_option(const peer::SocketOption& option) {
  const Rule* rule = rule_of(option);
  if (rule == nullptr) return fail("a socket option that is not on the list");
  if (!has_size(*rule, option.value())) return fail(std::string("a value of an odd size for ") + rule->text);
  return {};
}

Result<> set_socket_option(int socket, const peer::SocketOption& option) {
  const Rule* rule = rule_of(option);
  const int priority = int_option(socket, SOL_SOCKET, SO_PRIORITY).value_or(0);
  if (::setsockopt(socket, rule->level, rule->name, option.value().data(),
                   static_cast<socklen_t>(option.value().size())) != 0)
    return fail_errno(rule->text);
  // With IP_TOS the kernel also sets SO_PRIORITY, which CRIU has put back already.
  if (rule->level == IPPROTO_IP && rule->name == IP_TOS)
    (void)::setsockopt(socket, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority);
  return {};
}

bool is_needed(const peer::SocketOption& option) {
  const Rule* rule = rule_of(option);
  return rule != nullptr && rule->needed;
}

}  // namespace godwit
