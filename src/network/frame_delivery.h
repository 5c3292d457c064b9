// Held frames, put into a container's veth as if its bridge had sent them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/host_port.h"
#include "network/recreate.h"

namespace godwit::network {

inline constexpr size_t kFrameBytesMin = 14;     // an Ethernet header
inline constexpr size_t kFrameBytesMax = 65549;  // the largest a link with an MTU of 65535 carries

struct DeliveryCount {
  size_t delivered = 0;
  size_t refused =
      0;  // of a wrong size, for a MAC that is no link's, or longer than the link's MTU
};

// Sends FRAMES in order, each into the end whose container MAC it is addressed to; those addressed
// to many go into all. Frames may come from a peer. The calling thread is in the host's namespace.
// An error: the socket.
Result<DeliveryCount> deliver_frames(std::span<const HostEnd> ends,
                                     std::span<const std::string> frames);

// As host ends for deliver_frames: the source's own ports, after a rollback.
std::vector<HostEnd> as_host_ends(const std::vector<HostPort>& ports);

}  // namespace godwit::network
