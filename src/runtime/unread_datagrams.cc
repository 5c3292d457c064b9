#include "runtime/unread_datagrams.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/poll.h"
#include "runtime/int_option.h"
#include "runtime/scoped_option.h"

namespace godwit {

namespace {

constexpr size_t kDatagramBytesMax = 65536;
constexpr int kSoBufLock = 72;        // asm-generic/socket.h, Linux 5.17
constexpr int kRoomForAll = 1 << 29;  // the kernel doubles it
// Those that come by a veth may be taken in by another processor.
constexpr auto kArrivesWithin = std::chrono::milliseconds(100);
constexpr int kUdpGro = 104;  // linux/udp.h: several datagrams of one sender, of this size, the last one perhaps less

std::string bytes_of(const in6_addr& address) {
  const bool v4 = IN6_IS_ADDR_V4MAPPED(&address);
  return {reinterpret_cast<const char*>(&address.s6_addr[v4 ? 12 : 0]), v4 ? sizeof(in_addr) : sizeof(in6_addr)};
}

std::string bytes_of(const in_addr& address) { return {reinterpret_cast<const char*>(&address), sizeof address}; }

std::string address_in(const sockaddr_storage& address) {
  return address.ss_family == AF_INET ? bytes_of(reinterpret_cast<const sockaddr_in&>(address).sin_addr)
                                      : bytes_of(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

template <typename T>
std::optional<T> content(const cmsghdr& header) {
  if (header.cmsg_len < CMSG_LEN(sizeof(T))) return std::nullopt;
  T value;
  std::memcpy(&value, CMSG_DATA(&header), sizeof value);
  return value;
}

// What the program would be told with it, if it has asked to be: nothing else matters to it.
void read_control(const cmsghdr& header, peer::Datagram& datagram, size_t& segment) {
  const auto number = content<int>(header);
  if (header.cmsg_level == IPPROTO_IP) {
    if (header.cmsg_type == IP_PKTINFO) {
      const auto info = content<in_pktinfo>(header).value_or(in_pktinfo{});
      datagram.set_destination(bytes_of(info.ipi_addr));
      datagram.set_link(static_cast<uint32_t>(std::max(info.ipi_ifindex, 0)));
    } else if (header.cmsg_type == IP_ORIGDSTADDR) {
      datagram.set_destination(bytes_of(content<sockaddr_in>(header).value_or(sockaddr_in{}).sin_addr));
    } else if (header.cmsg_type == IP_TTL && number) {
      datagram.set_hops(static_cast<uint32_t>(*number));
    } else if (header.cmsg_type == IP_TOS) {
      datagram.set_traffic_class(content<uint8_t>(header).value_or(0));
    }
  } else if (header.cmsg_level == IPPROTO_IPV6) {
    if (header.cmsg_type == IPV6_PKTINFO || header.cmsg_type == IPV6_2292PKTINFO) {
      const auto info = content<in6_pktinfo>(header).value_or(in6_pktinfo{});
      datagram.set_destination(bytes_of(info.ipi6_addr));
      datagram.set_link(info.ipi6_ifindex);
    } else if (header.cmsg_type == 74) {  // IPV6_ORIGDSTADDR
      datagram.set_destination(bytes_of(content<sockaddr_in6>(header).value_or(sockaddr_in6{}).sin6_addr));
    } else if ((header.cmsg_type == IPV6_HOPLIMIT || header.cmsg_type == IPV6_2292HOPLIMIT) && number) {
      datagram.set_hops(static_cast<uint32_t>(*number));
    } else if (header.cmsg_type == IPV6_TCLASS && number) {
      datagram.set_traffic_class(static_cast<uint32_t>(*number));
    }
  } else if (header.cmsg_level == IPPROTO_UDP && header.cmsg_type == kUdpGro && number && *number > 0) {
    segment = static_cast<size_t>(*number);
  }
}

// What SOCKET is bound to, for datagrams that do not say themselves.
struct Binding {
  std::string address;  // empty: any
  uint32_t link = 0;
};

Binding binding_of(int socket) {
  Binding binding;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0) binding.address = address_in(address);
  if (binding.address.find_first_not_of('\0') == std::string::npos) binding.address.clear();
  const int link = int_option(socket, SOL_SOCKET, 62).value_or(0);  // SO_BINDTOIFINDEX
  if (link > 0) binding.link = static_cast<uint32_t>(link);
  return binding;
}

// The next one, with what it says of itself; none: that was all.
struct Peeked {
  peer::Datagram header;
  std::string data;
  size_t segment;  // it is several of this size
};
Result<std::optional<Peeked>> peek_next(int socket, std::string& buffer) {
  sockaddr_storage from{};
  alignas(cmsghdr) char control[1024];
  iovec part{buffer.data(), buffer.size()};
  msghdr message{&from, sizeof from, &part, 1, control, sizeof control, 0};
  const ssize_t got = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (got < 0) return fail_errno("looking at a datagram");
  Peeked peeked{.header = {}, .data = buffer.substr(0, static_cast<size_t>(got)), .segment = SIZE_MAX};
  peeked.header.set_source(address_in(from));
  peeked.header.set_source_port(ntohs(reinterpret_cast<const sockaddr_in&>(from).sin_port));  // IPv6's is there too
  if (from.ss_family == AF_INET6) peeked.header.set_link(reinterpret_cast<const sockaddr_in6&>(from).sin6_scope_id);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header))
    read_control(*header, peeked.header, peeked.segment);
  return peeked;
}

bool same(const peer::Datagram& a, const peer::Datagram& b) {
  return a.source() == b.source() && a.source_port() == b.source_port() && a.data() == b.data();
}

}  // namespace

UnreadDatagrams::UnreadDatagrams(ScopedFd socket, const peer::SocketState& state)
    : socket_(std::move(socket)),
      list_(state.unread()),
      room_(int_option(socket_.get(), SOL_SOCKET, SO_RCVBUF).value_or(0)),
      locks_(int_option(socket_.get(), SOL_SOCKET, kSoBufLock).value_or(0)) {
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kRoomForAll, sizeof kRoomForAll);
}

UnreadDatagrams::~UnreadDatagrams() {
  if (!socket_) return;
  const int half = room_ / 2;
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof half);
  (void)::setsockopt(socket_.get(), SOL_SOCKET, kSoBufLock, &locks_, sizeof locks_);
}

uint16_t UnreadDatagrams::port() const {
  sockaddr_in6 address{};  // the port is at the same place in sockaddr_in
  socklen_t length = sizeof address;
  (void)::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin6_port);
}

std::vector<const peer::Datagram*> UnreadDatagrams::missing() const {
  peer::SocketState there;
  UnreadBounds bounds;
  (void)peek_datagrams(socket_.get(), bounds, there);  // looks no further than POLLIN if there is nothing
  auto at = there.unread().begin();
  std::vector<const peer::Datagram*> missing;
  for (const peer::Datagram& wanted : list_) {
    const auto found = std::find_if(at, there.unread().end(), [&](const auto& one) { return same(one, wanted); });
    if (found == there.unread().end()) {
      missing.push_back(&wanted);
    } else {
      at = found + 1;
    }
  }
  return missing;
}

std::vector<const peer::Datagram*> UnreadDatagrams::await() const {
  // The kernel shows an empty datagram to the first look only: the next migration needs that one.
  if (std::ranges::any_of(list_, [](const peer::Datagram& one) { return one.data().empty(); })) return {};
  const Deadline deadline = Clock::now() + kArrivesWithin;
  for (;;) {
    auto left = missing();
    if (left.empty() || Clock::now() >= deadline) return left;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Result<bool> peek_datagrams(int socket, UnreadBounds& bounds, peer::SocketState& state) {
  if (!is_ready(socket, POLLIN)) return true;
  // MSG_PEEK goes from one datagram to the next.
  TRY_ASSIGN(const auto peeking, ScopedOption::set(socket, SOL_SOCKET, SO_PEEK_OFF, 0));
  const Binding binding = binding_of(socket);
  std::string buffer(kDatagramBytesMax, '\0');
  for (;;) {
    TRY_ASSIGN(auto peeked, peek_next(socket, buffer));
    if (!peeked) return true;
    if (peeked->header.destination().empty()) peeked->header.set_destination(binding.address);
    if (peeked->header.link() == 0) peeked->header.set_link(binding.link);
    for (size_t at = 0; at == 0 || at < peeked->data.size();) {
      const size_t bytes = std::min(peeked->segment, peeked->data.size() - at);
      if (bounds.datagrams_left == 0 || bytes > bounds.bytes_left) return false;
      --bounds.datagrams_left;
      bounds.bytes_left -= bytes;
      peer::Datagram& datagram = *state.add_unread();
      datagram = peeked->header;
      datagram.set_data(peeked->data.substr(at, bytes));
      at += std::max<size_t>(bytes, 1);
    }
  }
}

Result<> check_datagram(const peer::Datagram& datagram) {
  const size_t address = datagram.source().size();
  if (address != sizeof(in_addr) && address != sizeof(in6_addr)) return fail("a datagram from an odd address");
  if (!datagram.destination().empty() && datagram.destination().size() != address)
    return fail("a datagram between addresses of two kinds");
  if (datagram.source_port() > 65535 || datagram.link() > INT_MAX || datagram.traffic_class() > 255 ||
      datagram.hops() > 255)
    return fail("a datagram with a number out of range");
  // 65535 bytes hold IPv4's header too.
  if (datagram.data().size() > 65535 - 8 - (address == sizeof(in_addr) ? 20 : 0)) return fail("a datagram too long");
  return {};
}

}  // namespace godwit
