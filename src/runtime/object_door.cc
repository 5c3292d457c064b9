#include "runtime/object_door.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "base/hex.h"
#include "base/identifier.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "kernel/netns.h"
#include "runtime/helpers/object_question.h"

namespace godwit {

namespace {

Result<ScopedFd> listen_at(const std::string& name) {
  ScopedFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 || ::listen(fd.get(), 64) != 0)
    return fail_errno("listening at an abstract name");
  return fd;
}

}  // namespace

ObjectDoor::ObjectDoor(Give give)
    : give_(std::move(give)), name_("godwit-" + random_id()), secret_(random_bytes(kObjectSecretBytes)) {}

Result<std::unique_ptr<ObjectDoor>> ObjectDoor::open(int netns, Give give) {
  std::unique_ptr<ObjectDoor> door(new ObjectDoor(std::move(give)));
  door->stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!door->stop_) return fail_errno("eventfd");
  TRY_ASSIGN(ScopedFd here, listen_at(door->name_));
  TRY_ASSIGN(ScopedFd there, in_netns(netns, [&] { return listen_at(door->name_); }));
  door->listeners_.push_back(std::move(here));
  door->listeners_.push_back(std::move(there));
  door->thread_ = std::thread([door = door.get()] { door->serve(); });
  return door;
}

ObjectDoor::~ObjectDoor() {
  if (!thread_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

std::string ObjectDoor::variable() const {
  return std::string(kObjectDoorVariable) + "=" + name_ + ":" + to_hex(secret_);
}

void ObjectDoor::serve() {
  pollfd items[] = {{listeners_[0].get(), POLLIN, 0}, {listeners_[1].get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    if (::poll(items, 3, -1) < 0 && errno != EINTR) return;
    if (items[2].revents != 0) return;
    for (const pollfd& item : {items[0], items[1]}) {
      if (item.revents == 0) continue;
      const ScopedFd connection(::accept4(item.fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (connection) answer(connection.get());
    }
  }
}

// One question. CRIU, which is root, asks at once; others do not hold it up for long.
void ObjectDoor::answer(int connection) const {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.uid != 0) return;
  const timeval limit{1, 0};
  (void)::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  auto packet = receive_packet(connection, sizeof(ObjectQuestion));
  ObjectQuestion question{};
  if (!packet || packet->bytes.size() != sizeof question) return;
  std::memcpy(&question, packet->bytes.data(), sizeof question);
  unsigned differs = 0;
  for (size_t i = 0; i < sizeof question.secret; ++i)
    differs |= question.secret[i] ^ static_cast<unsigned char>(secret_[i]);
  if (differs != 0) return;
  const auto object = give_(question.inode);
  const std::string text(1, object ? kObjectHere : kObjectNotHere);
  auto sent = send_packet(connection, text, object ? std::vector<int>{object->get()} : std::vector<int>{});
  if (!sent) log::warn("giving shared memory to CRIU: {}", sent.error().text());
}

}  // namespace godwit
