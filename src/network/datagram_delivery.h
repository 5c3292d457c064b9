// Datagrams that a container had not read arrive once more, in its namespace on the target. Where the program knows by
// which link one came, it comes by that: as frames from the bridge's side, if the link is a veth. All others come over
// the loopback, with the source that they had: no filter of source addresses (rp_filter) looks at them, and it works
// for what the container had sent to itself, and for macvlans.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "network/frame_delivery.h"
#include "network/loopback_sender.h"
#include "network/recreate.h"
#include "sockets.pb.h"

namespace godwit::network {

class DatagramDelivery {
 public:
  // STATE: of the namespace NETWORK. All references outlive this.
  DatagramDelivery(const RecreatedNamespace& network, const peer::NetworkState& state, FrameSender& frames)
      : network_(network), state_(state), frames_(frames), inside_(network.netns_fd()) {}

  // To whoever has port PORT. DATAGRAM has been checked (runtime/unread_datagrams.h).
  Result<> deliver(const peer::Datagram& datagram, uint16_t port);

 private:
  const peer::Link* link_of(const peer::Datagram& datagram) const;
  std::string destination_of(const peer::Datagram& datagram, const peer::Link* link) const;
  bool is_local(const std::string& address) const;
  Result<> send_frames(const peer::Datagram& datagram, const std::string& destination, uint16_t port,
                       const peer::Link& link, const HostEnd& end);
  Result<> send_inside(const peer::Datagram& datagram, const std::string& destination, uint16_t port);

  const RecreatedNamespace& network_;
  const peer::NetworkState& state_;
  FrameSender& frames_;
  LoopbackSender inside_;
};

}  // namespace godwit::network
