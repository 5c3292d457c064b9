#include "transport/socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <memory>

namespace godwit {

namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

constexpr int kBacklog = 128;

constexpr int kKeepProbes = 3;

Result<AddressList> resolve(const std::string& address, int flags) {
  TRY_ASSIGN(const HostPort parsed, parse_host_port(address));
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (int error = ::getaddrinfo(parsed.host.c_str(), parsed.port.c_str(), &hints, &list))
    return fail(address + ": " + gai_strerror(error));
  return AddressList(list, &freeaddrinfo);
}

std::string numeric(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  const bool ipv6 = address.ss_family == AF_INET6;
  return (ipv6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + port;
}

Result<> set_option(int fd, int level, int option, int value, const char* what) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0) return fail_errno(std::string("set ") + what);
  return {};
}

Result<> finish_connect(int fd, Deadline deadline) {
  TRY(wait_ready(fd, POLLOUT, deadline));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return fail_errno("getsockopt");
  if (error != 0) return fail_errno("connect", error);
  return {};
}

Result<ScopedFd> connect_one(const addrinfo& target, Deadline deadline, milliseconds dead_after) {
  ScopedFd fd(::socket(target.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("socket");
  if (::connect(fd.get(), target.ai_addr, target.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return fail_errno("connect");
    TRY(finish_connect(fd.get(), deadline));
  }
  TRY(prepare_tcp(fd.get(), dead_after));
  return fd;
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
  const auto bad = [&] { return fail("'" + std::string(text) + "' is not host:port"); };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find_first_of("[] \t\n/") != std::string_view::npos) return bad();
  if (!bracketed && host.find(':') != std::string_view::npos) return bad();
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || number > 65535) return bad();
  return HostPort{std::string(host), std::string(port)};
}

Result<> prepare_tcp(int socket, milliseconds dead_after) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0) return fail_errno("fcntl");
  TRY(set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"));
  TRY(set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"));
  // Two fifths of the time before the first probe, one before each of the next ones and the end.
  const int seconds = static_cast<int>(std::chrono::ceil<std::chrono::seconds>(dead_after).count());
  const int interval = std::max(seconds / 5, 1);
  const int idle = std::max(seconds - kKeepProbes * interval, 1);
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, idle, "TCP_KEEPIDLE"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, interval, "TCP_KEEPINTVL"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kKeepProbes, "TCP_KEEPCNT"));
  return set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(dead_after.count()), "TCP_USER_TIMEOUT");
}

Result<ScopedFd> connect_tcp(const std::string& address, Deadline deadline, milliseconds dead_after) {
  TRY_ASSIGN(const AddressList list, resolve(address, 0));
  Error last("no address");
  for (const addrinfo* target = list.get(); target != nullptr; target = target->ai_next) {
    auto fd = connect_one(*target, deadline, dead_after);
    if (fd) return fd;
    last = std::move(fd.error());
  }
  return fail(std::move(last).during(address));
}

Result<ScopedFd> listen_tcp(const std::string& address) {
  TRY_ASSIGN(const AddressList list, resolve(address, AI_PASSIVE));
  ScopedFd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("socket");
  // A restarted agent must get its port back while old connections are in TIME_WAIT.
  TRY(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  if (::bind(fd.get(), list->ai_addr, list->ai_addrlen) != 0) return fail_errno("bind " + address);
  if (::listen(fd.get(), kBacklog) != 0) return fail_errno("listen " + address);
  return fd;
}

std::optional<std::chrono::microseconds> shortest_round_trip(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
      size < offsetof(tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt ||
      info.tcpi_min_rtt == std::numeric_limits<decltype(info.tcpi_min_rtt)>::max())
    return std::nullopt;
  return std::chrono::microseconds(info.tcpi_min_rtt);
}

size_t unacknowledged_bytes(int socket) {
  int bytes = 0;
  return ::ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

std::string local_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  return numeric(address, size);
}

std::string remote_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  return numeric(address, size);
}

Result<> send_all(int socket, std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY(wait_ready(socket, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return fail(peer_error(remote_address(socket), errno));
    }
  }
  return {};
}

Result<> receive_all(int socket, void* buffer, size_t bytes, Deadline deadline) {
  for (size_t have = 0; have < bytes;) {
    const ssize_t got = ::recv(socket, static_cast<char*>(buffer) + have, bytes - have, 0);
    if (got > 0) {
      have += static_cast<size_t>(got);
    } else if (got == 0) {
      return fail(peer_error(remote_address(socket), 0));
    } else if (errno == EAGAIN) {
      TRY(wait_ready(socket, POLLIN, deadline));
    } else if (errno != EINTR) {
      return fail(peer_error(remote_address(socket), errno));
    }
  }
  return {};
}

Error peer_error(const std::string& peer, int code) {
  if (code == 0 || code == ECONNRESET || code == EPIPE) return Error(peer + " closed the connection", ECONNRESET);
  if (code == ETIMEDOUT || code == EHOSTUNREACH)
    return Error(peer + " has acknowledged nothing for longer than limits.peer_dead_after_s", EHOSTUNREACH);
  return fail_errno(peer, code).error();
}

Result<> wait_ready(int fd, short events, Deadline deadline) {
  for (;;) {
    pollfd item{fd, events, 0};
    const int ready = ::poll(&item, 1, poll_ms(deadline));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno("poll");
    if (ready == 0 && Clock::now() >= deadline) return fail(Error("no answer in time", ETIMEDOUT));
  }
}

}  // namespace godwit
