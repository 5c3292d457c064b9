// Held frames, put into a container's veth as if its bridge had sent them, and into a macvlan as if they had come to
// its parent.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/host_port.h"
#include "network/macvlan_frames.h"
#include "network/recreate.h"

namespace godwit::network {

inline constexpr size_t kFrameBytesMin = 14;     // an Ethernet header
inline constexpr size_t kFrameBytesMax = 65549;  // the largest a link with an MTU of 65535 carries

struct DeliveryCount {
  size_t delivered = 0;
  size_t refused = 0;  // of a wrong size, for a MAC that is no link's, or longer than the link's MTU
};

// A packet socket in the network namespace of the thread that opened it, for good, and the ways into macvlans.
class FrameSender {
 public:
  // ID (16 hexadecimal digits) makes names unique, with USE among the senders of one migration. Where the kernel has no
  // way into macvlans, their frames are refused, and notes() says so.
  static Result<FrameSender> open(std::span<const HostEnd> ends, const std::string& id, char use = 'e');

  // Sends FRAMES in order, each into the end whose container MAC it is addressed to; those
  // addressed to many go into all. Frames may come from a peer. An error: the socket, or a link
  // that has vanished.
  Result<DeliveryCount> send(std::span<const HostEnd> ends, std::span<const std::string> frames);

  const std::vector<std::string>& notes() const { return notes_; }

 private:
  explicit FrameSender(ScopedFd socket) : socket_(std::move(socket)) {}
  Result<bool> send_to(const HostEnd& end, const std::string& frame);
  ScopedFd socket_;
  std::map<uint32_t, MacvlanEntrance> entrances_;  // by their parents
  std::vector<std::string> notes_;
};

// FrameSender::open and send: the calling thread is in the host's namespace.
Result<DeliveryCount> deliver_frames(std::span<const HostEnd> ends, std::span<const std::string> frames,
                                     const std::string& id);

// The source's own ports, as ends to deliver to after a rollback.
std::vector<HostEnd> as_host_ends(const std::vector<HostPort>& ports);

}  // namespace godwit::network
