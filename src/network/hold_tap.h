// The tap that takes a port's place on its bridge. Until it is told to divert, the bridge sends it
// nothing.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "kernel/tap.h"
#include "network/host_port.h"

namespace godwit::network {

class HoldTap {
 public:
  // Up, forwarding, beside PORT on its bridge. SOCKET and the calling thread are in the host's
  // namespace.
  static Result<HoldTap> make(RouteSocket& socket, const std::string& name, const HostPort& port);

  // Adds the requests that turn on, or off, that frames for the container's MAC, and broadcasts,
  // come here.
  void add_diversion(bool on, std::vector<NetlinkRequest>& requests) const;

  int fd() const { return tap_.fd.get(); }

 private:
  HoldTap(Tap tap, const HostPort& port) : tap_(std::move(tap)), mac_(port.mac), vlans_(port.vlans) {}
  Tap tap_;
  MacAddress mac_;
  std::vector<peer::Vlan> vlans_;  // of the port; a forwarding entry is for one of them
};

}  // namespace godwit::network
