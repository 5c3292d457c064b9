// The way into a container's namespace for packets of somebody else's: over loopback, with the source that they had. No
// filter of source addresses (rp_filter) looks at them there.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit::network {

class LoopbackSender {
 public:
  // Sockets are opened in the namespace NETNS_FD when they are needed; borrowed.
  explicit LoopbackSender(int netns_fd) : netns_fd_(netns_fd) {}

  // PACKET, with its IP header, to DESTINATION (4 or 16 bytes), an address of the namespace.
  Result<> send(std::string_view packet, std::string_view destination);

 private:
  int netns_fd_;
  ScopedFd v4_, v6_;
};

}  // namespace godwit::network
