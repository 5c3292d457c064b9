#include "runtime/privileged_service.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/unix_socket.h"
#include "kernel/netns.h"
#include "runtime/helpers/privileged_request.h"

namespace godwit {

namespace {

constexpr int kCriuMark = 0xc114;  // soccr.h: SOCCR_MARK
constexpr size_t kConnectionsMax = 16;

Result<ScopedFd> opened(int fd, const char* what) {
  if (fd < 0) return fail_errno(what);
  return ScopedFd(fd);
}

Result<ScopedFd> raw_socket(int domain, int netns) {
  if (domain != AF_INET && domain != AF_INET6) return fail_errno("an odd raw socket", EINVAL);
  TRY_ASSIGN(const auto inside, ScopedNetns::enter(netns));
  TRY_ASSIGN(ScopedFd made, opened(::socket(domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), "a raw socket"));
  if (::setsockopt(made.get(), SOL_SOCKET, SO_MARK, &kCriuMark, sizeof kCriuMark) != 0) return fail_errno("SO_MARK");
  return made;
}

Result<ScopedFd> set_tcp_repair(const Packet& packet, int value) {
  if (packet.fds.size() != 2) return fail_errno("no socket", EINVAL);
  if (::setsockopt(packet.fds[1].get(), IPPROTO_TCP, TCP_REPAIR, &value, sizeof value) != 0)
    return fail_errno("TCP_REPAIR");
  return ScopedFd();
}

void answer(const Packet& packet, const Result<ScopedFd>& result) {
  PrivilegedAnswer said{};
  std::vector<int> fds;
  if (!result) {
    log::warn("for a restore into a user namespace: {}", result.error().text());
    said.error = result.error().code() != 0 ? result.error().code() : EIO;
  } else if (*result) {
    fds.push_back(result->get());
  }
  // Who asked may have been killed.
  (void)send_packet(packet.fds[0].get(), {reinterpret_cast<const char*>(&said), sizeof said}, fds);
}

}  // namespace

Result<std::unique_ptr<PrivilegedService>> PrivilegedService::start(const std::filesystem::path& socket, int netns,
                                                                    std::vector<std::string> mounts) {
  std::unique_ptr<PrivilegedService> service(new PrivilegedService);
  service->variable_ = std::string(kPrivilegedVariable) + "=" + socket.string();
  TRY_ASSIGN(service->listener_, listen_unix(socket, SOCK_SEQPACKET));
  TRY_ASSIGN(service->netns_, opened(::fcntl(netns, F_DUPFD_CLOEXEC, 0), "the network namespace"));
  TRY_ASSIGN(service->end_, opened(::eventfd(0, EFD_CLOEXEC), "eventfd"));
  service->mounts_ = std::move(mounts);
  service->thread_ = std::thread([raw = service.get()] { raw->serve(); });
  return service;
}

PrivilegedService::~PrivilegedService() {
  if (end_) ::eventfd_write(end_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

// runC starts CRIU to ask for its version before it restores: each of them connects.
void PrivilegedService::serve() {
  std::vector<ScopedFd> connections;
  for (;;) {
    std::vector<pollfd> items{{end_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const ScopedFd& connection : connections) items.push_back({connection.get(), POLLIN, 0});
    if (::poll(items.data(), items.size(), -1) < 0 && errno == EINTR) continue;
    if (items[0].revents != 0) return;
    for (size_t i = connections.size(); i-- > 0;)
      if (items[2 + i].revents != 0 && !serve_one(connections[i].get()))
        connections.erase(connections.begin() + static_cast<ptrdiff_t>(i));
    if (items[1].revents == 0 || connections.size() >= kConnectionsMax) continue;
    ScopedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) connections.push_back(std::move(connection));
  }
}

// False: all who had the connection have ended.
bool PrivilegedService::serve_one(int connection) const {
  auto packet = receive_packet(connection, sizeof(PrivilegedRequest));
  if (!packet) return false;
  if (!packet->fds.empty()) answer(*packet, fulfil(*packet));
  return true;
}

// CRIU asks for mounts of its own as well, which it finds itself.
Result<ScopedFd> PrivilegedService::clone_mount(const std::string& path) const {
  if (std::ranges::find(mounts_, path) == mounts_.end()) return ScopedFd();
  constexpr unsigned kFlags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  return opened(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), kFlags)), "open_tree");
}

Result<ScopedFd> PrivilegedService::fulfil(const Packet& packet) const {
  PrivilegedRequest request{};
  if (packet.bytes.size() != sizeof request) return fail_errno("an odd request", EINVAL);
  std::memcpy(&request, packet.bytes.data(), sizeof request);
  switch (request.kind) {
    case PrivilegedRequest::kUserfaultfdDevice:
      return opened(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), "/dev/userfaultfd");
    case PrivilegedRequest::kNetworkNamespace:
      return opened(::fcntl(netns_.get(), F_DUPFD_CLOEXEC, 0), "the network namespace");
    case PrivilegedRequest::kRawSocket:
      return raw_socket(request.value, netns_.get());
    case PrivilegedRequest::kTcpRepair:
      return set_tcp_repair(packet, request.value);
    case PrivilegedRequest::kMount:
      return clone_mount({request.path, ::strnlen(request.path, sizeof request.path)});
    default:
      return fail_errno("an odd request", EINVAL);
  }
}

}  // namespace godwit
