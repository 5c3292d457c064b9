// Which of the frames on a bridge are for a container.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "network/host_port.h"
#include "peer.pb.h"

namespace godwit::network {

// Whether FRAME, anything the wire brings, is the first segment of a TCP connection.
bool opens_tcp_connection(std::string_view frame);

class FrameFilter {
 public:
  FrameFilter(const std::vector<HostPort>& ports, const peer::NetworkState& state);

  // Addressed to one of the container's MACs, or an ARP request or neighbour solicitation for one
  // of its addresses. FRAME is anything the wire brings.
  bool wants(std::string_view frame) const;
  // Addressed to one of the container's MACs, and to nobody else.
  bool is_to_container(std::string_view frame) const;

 private:
  std::set<std::string, std::less<>> macs_;
  std::set<std::string, std::less<>> addresses_;
};

}  // namespace godwit::network
