// The container's sockets on the source: what CRIU leaves out of them (runtime/socket_states.h), locks on them
// (runtime/socket_locks.h), and the connections that only the kernel has (network/remembered_connections.h).
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/remembered_connections.h"
#include "network/tcp_moment.h"
#include "peer.pb.h"
#include "sockets.pb.h"

namespace godwit {

class SourceSockets {
 public:
  // While the container runs: what takes time to open. NETNS_FD is its namespace, PORTS lead to it.
  void prepare(int netns_fd, const std::vector<network::HostPort>& ports, const std::string& id);

  // The same: of connections that no process has. None: this kernel does not tell.
  network::TcpWatch* watch() { return watch_ ? &*watch_ : nullptr; }

  // The same: without locks on the sockets of PROCESSES, the lens, in the directory LENS, answers for them. One that
  // comes later is found by read().
  Result<> look_for_locks(const std::vector<pid_t>& processes, const std::filesystem::path& lens);

  // When PROCESSES stand still; beside CRIU's dump. NETWORK is what is in the namespace. What only the kernel has is
  // read once LEAVE_BRIDGE has taken the container off its LANs.
  Result<peer::SocketStates> read(const std::vector<pid_t>& processes, int netns_fd, const peer::NetworkState& network,
                                  const std::function<Result<>()>& leave_bridge);

  // When CRIU has dumped: what read() has returned goes, complete, with the images in the directory IMAGES.
  static Result<> add_to_images(const std::vector<pid_t>& processes, peer::SocketStates states,
                                const std::filesystem::path& images);

  // What only the kernel has, after read(), and how many of it are lost.
  const network::RememberedReader::Read& remembered() const { return remembered_; }

 private:
  void read_remembered(int netns_fd, const peer::NetworkState& network, const std::function<Result<>()>& leave_bridge);

  std::optional<network::TcpWatch> watch_;
  std::optional<network::RememberedReader> reader_;
  network::RememberedReader::Read remembered_;
  bool were_unlocked_ = false;  // before the freeze
};

}  // namespace godwit
