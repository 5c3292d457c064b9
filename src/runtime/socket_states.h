// What CRIU does not carry of sockets (socket_options.h, multicast_groups.h, tcp_keys.h, urgent_data.h,
// unread_datagrams.h), of a whole container. Sockets are reached by copies of the descriptors that processes have for
// them; those that only wait in other sockets, on their way to a process, are not reached, but counted.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "peer.pb.h"
#include "runtime/unread_datagrams.h"
#include "sockets.pb.h"

namespace godwit {

inline constexpr int kSocketStatesMax = 1 << 18;

// On the source: PROCESSES stand still. They have the network namespace NETNS_FD, whose addresses are in NETWORK.
// Changes nothing. Some 10 us a socket; those with nothing to be carried are left out.
Result<peer::SocketStates> read_socket_states(const std::vector<pid_t>& processes, int netns_fd,
                                              const peer::NetworkState& network);

// On the source, when CRIU has dumped the sockets, what could not be read into STATES while it did: urgent data, since
// connections have to be in repair mode for it, and the peek offsets (SO_PEEK_OFF), which may have been CRIU's own.
Result<> complete_socket_states(const std::vector<pid_t>& processes, peer::SocketStates& states);

// Among CRIU's images in DIRECTORY, with which it travels; not if there is nothing to be told.
Result<> write_socket_states(const peer::SocketStates& states, const std::filesystem::path& directory);

// What was written there, if it was; checked, since it comes from a peer.
Result<peer::SocketStates> load_socket_states(const std::filesystem::path& directory);
Result<> check_socket_states(const peer::SocketStates& states);

// On the target, from the time when the sockets are restored to the time when they may be used.
class SocketRestoring {
 public:
  // STATES have been checked. PROCESSES are the restored ones, none of which runs. An error: a socket would not be what
  // it was in a way that matters; the rest are notes.
  static Result<SocketRestoring> apply(const peer::SocketStates& states, const std::vector<pid_t>& processes);

  // To be delivered by the caller, and then cleared: a socket has more room until then.
  std::vector<UnreadDatagrams>& unread() { return unread_; }
  // The same.
  struct Urgent {
    ScopedFd socket;
    peer::UrgentData data;
    std::string name;  // of the socket, for people
  };
  std::vector<Urgent>& urgent() { return urgent_; }

  // When the container's links are on their LANs: tells these of its multicast groups, of which they know at another
  // port. Before the processes run: until then their sockets are open here as well.
  void announce_groups();

  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Member {
    ScopedFd socket;
    std::vector<peer::Membership> memberships;
  };
  SocketRestoring() = default;
  Result<> apply(const peer::SocketState& state, ScopedFd socket);

  std::vector<Member> members_;
  std::vector<UnreadDatagrams> unread_;
  std::vector<Urgent> urgent_;
  std::vector<std::string> notes_;
};

}  // namespace godwit
