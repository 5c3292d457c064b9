// Frames that arrive for the container while no host runs it are kept, so that no client waits for
// a TCP retransmission.
//
// On the source, a tap joins the container's bridge beforehand (up, forwarding, flooded with
// nothing). begin() points the bridge's forwarding entry for the container's MAC at the tap: from
// the one moment to the next each frame has exactly one place to go, and none is lost between. The
// entry is sticky, so that no frame of the container moves it back. Later the container's port is
// taken off the bridge (PortDetachment). Held are frames to the container's MAC, and the ARP requests and neighbour
// solicitations that ask for its addresses: unanswered, they are repeated only after a second.
//
// Frames for a macvlan come to a tap as well, from its parent (macvlan_frames.h). On a kernel without what that needs,
// they are not held.
//
// Nothing outlives the agent: with the tap's descriptor go the tap, its port and its forwarding
// entries.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/detachment.h"
#include "network/frame_delivery.h"
#include "network/frame_queue.h"
#include "network/host_port.h"
#include "peer.pb.h"

namespace godwit::network {

class FrameHold {
 public:
  // Makes a tap beside each port and starts the thread that reads them. The container notices
  // nothing. STATE tells the addresses to hold ARP requests for; ID (16 hexadecimal digits) makes
  // the taps' names unique. The host is the network namespace of the calling thread; later calls
  // may come from any thread, one at a time.
  static Result<FrameHold> prepare(const std::vector<HostPort>& ports, const peer::NetworkState& state,
                                   const std::string& id, HoldBounds bounds = {});
  FrameHold(FrameHold&&) noexcept;
  FrameHold& operator=(FrameHold&&) = delete;
  ~FrameHold();  // stop()

  // Until begin(): what opens a TCP connection is held, and all else that is addressed to the container alone goes to
  // it by way of the hold. Fine if there is nothing to divert.
  Result<> hold_new_connections();

  // Diverts the frames to the hold, well under 1 ms; macvlans whose frames cannot be diverted are detached. What the
  // container has sent is still on its way out: the ports are to be detached before its sockets are dumped, and not at
  // once. On error nothing has happened.
  Result<> begin(PortDetachment& detachment);

  // The frames held so far and not yet taken, oldest first, at most BYTES_MAX of them but at least one. The hold goes
  // on.
  std::vector<std::string> take(size_t bytes_max = SIZE_MAX);
  size_t bytes_waiting() const;  // what take() would return

  // Rollback: reattaches the ports, delivers what was held into them, in order, and ends the hold.
  // Frames that arrive meanwhile come after the held ones. Also right if begin() was never called.
  Result<DeliveryCount> give_back(PortDetachment& detachment);

  // Ends the hold; tap and forwarding entry go. take() still returns what is left. About 10 ms.
  void stop();

  HoldCount count() const;

  // What is not held, for the report; empty if everything is.
  std::vector<std::string> notes() const;

 private:
  struct Shared;
  explicit FrameHold(std::unique_ptr<Shared> shared);
  std::unique_ptr<Shared> shared_;
};

}  // namespace godwit::network
