// Socket options that CRIU 4.2 does not carry (criu/sockets.c, sk-inet.c, sk-tcp.c, sk-netlink.c, sk-packet.c have
// those that it does): read from a socket on the source, set on the restored one. Only what differs from a fresh socket
// of its kind is carried. Both sides know the same list, and nothing else is taken from a peer.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

inline constexpr int kOptionsPerSocketMax = 128;

// What decides which options a socket has.
struct SocketKind {
  int family;
  int type;
  int protocol;
  bool connection;  // TCP: a peer is known. Fewer options matter then, and there may be thousands
  auto operator<=>(const SocketKind&) const = default;
};
std::optional<SocketKind> kind_of(int socket);  // none: not a socket

class SocketOptionReader {
 public:
  // Fresh sockets, to compare with, are made in the network namespace NETNS_FD; borrowed.
  explicit SocketOptionReader(int netns_fd) : netns_fd_(netns_fd) {}

  // Some 20 getsockopt for a TCP connection, up to 70 for others.
  std::vector<peer::SocketOption> read(int socket, const SocketKind& kind);

 private:
  using Values = std::vector<std::optional<std::string>>;  // of each option; none: this kind does not have it
  const Values& defaults_of(const SocketKind& kind);
  int netns_fd_;
  std::map<SocketKind, Values> defaults_;
};

// Whether it is one of the list, with a value of its size.
Result<> check_socket_option(const peer::SocketOption& option);

// OPTION has been checked. Its name, for people, is part of an error.
Result<> set_socket_option(int socket, const peer::SocketOption& option);

// The container would not be what it was without it: no note, but the end of the migration.
bool is_needed(const peer::SocketOption& option);

}  // namespace godwit
