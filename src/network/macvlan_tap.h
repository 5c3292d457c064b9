// What a macvlan's parent receives for it, and a way to put frames into the macvlan.
#pragma once

#include <string>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/rtnetlink.h"
#include "network/host_port.h"
#include "network/recreate.h"

namespace godwit::network {

class MacvlanTap {
 public:
  // A packet socket at PORT's parent and, called NAME, a macvlan beside the container's. SOCKET and the calling thread
  // are in the host's namespace. The socket is non-blocking and sees only what comes in.
  static Result<MacvlanTap> make(RouteSocket& socket, const std::string& name, const HostPort& port);

  int fd() const { return fd_.get(); }
  const HostEnd& end() const { return end_; }

  // Removes the macvlan. Not done by the destructor: it needs the socket.
  void remove(RouteSocket& socket);

 private:
  MacvlanTap(ScopedFd fd, HostEnd end) : fd_(std::move(fd)), end_(std::move(end)) {}
  ScopedFd fd_;
  HostEnd end_;
};

}  // namespace godwit::network
