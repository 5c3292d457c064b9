// The container's sockets on the target: what CRIU leaves out of them (runtime/socket_states.h), and the connections
// that only the kernel has (network/remembered_connections.h).
#pragma once

#include <google/protobuf/repeated_ptr_field.h>
#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/frame_delivery.h"
#include "network/recreate.h"
#include "peer.pb.h"
#include "runtime/socket_states.h"
#include "sockets.pb.h"

namespace godwit {

class TargetSockets {
 public:
  // Before CRIU has sockets in NETWORK.
  Result<> make_remembered(const google::protobuf::RepeatedPtrField<peer::RememberedConnection>& connections,
                           const network::RecreatedNamespace& network);

  // When all images are in the directory IMAGES, and before CRIU reads those of sockets.
  Result<> load(const std::filesystem::path& images);

  bool has_states() const { return states_.ByteSizeLong() > 0; }
  // When CRIU has restored PROCESSES, none of which runs, and before any frame of the downtime. STATE: of NETWORK.
  Result<> restore(const std::vector<pid_t>& processes, const network::RecreatedNamespace& network,
                   const peer::NetworkState& state, network::FrameSender& frames);

  // When the container's links are on their LANs: these are told of its multicast groups. Lets go of the sockets.
  void announce_groups();
  // Nothing of them is open here any more.
  void let_go() { restoring_.reset(); }

  // For the report; those since the last call.
  std::vector<std::string> take_notes();

 private:
  Result<> deliver_urgent(const network::RecreatedNamespace& network);
  Result<> deliver_unread(const network::RecreatedNamespace& network, const peer::NetworkState& state,
                          network::FrameSender& frames);

  peer::SocketStates states_;                 // until they are restored
  std::optional<SocketRestoring> restoring_;  // until they may be used
  std::vector<std::string> notes_;
};

}  // namespace godwit
