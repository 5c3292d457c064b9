#include "base/unix_socket.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace godwit {

namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path) return fail("socket path too long: " + path.string());
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

// When there is a packet: a size that it does not exceed. Most are much shorter than they may be, and fresh memory of
// the longest size for each would cost more than all else here.
Result<size_t> await_packet(int socket, size_t bytes_max) {
  char first;
  ssize_t got;
  do {
    got = ::recv(socket, &first, 1, MSG_PEEK);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("receive packet");
  if (got == 0) return fail_errno("receive packet", ECONNRESET);
  int waiting = 0;
  if (::ioctl(socket, SIOCINQ, &waiting) != 0) return fail_errno("SIOCINQ");
  return std::clamp<size_t>(static_cast<size_t>(waiting), 1, bytes_max);
}

}  // namespace

Result<ScopedFd> connect_unix(const std::filesystem::path& path, int type, std::optional<timeval> sends_within) {
  TRY_ASSIGN(sockaddr_un address, address_of(path));
  ScopedFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  if (sends_within) ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &*sends_within, sizeof *sends_within);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("connect to " + path.string());
  return fd;
}

Result<ScopedFd> listen_unix(const std::filesystem::path& path, int type) {
  TRY_ASSIGN(sockaddr_un address, address_of(path));
  ScopedFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("bind " + path.string());
  if (::chmod(path.c_str(), 0600) != 0) return fail_errno("chmod " + path.string());
  if (::listen(fd.get(), 4) != 0) return fail_errno("listen " + path.string());
  return fd;
}

Result<std::filesystem::path> bound_path(int listener) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) return fail_errno("getsockname");
  if (address.sun_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path))
    return fail("a socket without a path");
  return std::filesystem::path(std::string(address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path)));
}

Result<> send_packet(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (fds.size() > kPacketFdsMax) return fail("too many descriptors in one packet");
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kPacketFdsMax * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return {};
    if (errno != EINTR) return fail_errno("send packet");
  }
}

Result<Packet> receive_packet(int socket, size_t bytes_max) {
  Packet packet;
  TRY_ASSIGN(const size_t size, await_packet(socket, bytes_max));
  packet.bytes.resize(size);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kPacketFdsMax * sizeof(int))];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("receive packet");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
  if (got == 0) return fail_errno("receive packet", ECONNRESET);
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return fail_errno("receive packet", EMSGSIZE);
  packet.bytes.resize(static_cast<size_t>(got));
  return packet;
}

}  // namespace godwit
