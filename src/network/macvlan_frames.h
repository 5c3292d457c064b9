// Frames of a macvlan on their way between its parent and a program. A macvlan has no port that could be diverted: its
// frames come to the parent and are told apart by their MAC. Here a program at the parent (kernel/link_program.h) sends
// what is for the container to a tap, before the macvlan gets it; and what is written to another tap is for the parent
// as if it had come from its LAN, so that the macvlan gets it, whatever its mode.
//
// Nothing outlives the agent: taps and programs go with their descriptors.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/rtnetlink.h"
#include "kernel/tap.h"
#include "network/host_port.h"
#include "network/mac.h"

namespace godwit::network {

class MacvlanDiversion {
 public:
  // A tap that gets nothing yet. SOCKET and the calling thread are in the host's namespace. An error where the kernel
  // has no such programs.
  static Result<MacvlanDiversion> make(RouteSocket& socket, const std::string& name, const HostPort& port);

  // From now on frames for the macvlan come to the tap and not to it; of broadcasts and multicasts, which are for
  // others as well, a copy comes. What MacvlanEntrance puts in goes to the macvlan all the same. The calling thread is
  // in the host's namespace.
  Result<> begin();
  void end() { attached_.reset(); }

  int fd() const { return tap_.fd.get(); }  // one frame per read

 private:
  MacvlanDiversion(Tap tap, ScopedFd program, uint32_t parent)
      : tap_(std::move(tap)), program_(std::move(program)), parent_(parent) {}
  Tap tap_;
  ScopedFd program_, attached_;
  uint32_t parent_;
};

// The way into macvlans of the link PARENT.
class MacvlanEntrance {
 public:
  static Result<MacvlanEntrance> make(RouteSocket& socket, const std::string& name, uint32_t parent);

  // To the macvlan with this MAC, and to nobody else, even if the frame is a broadcast. False: it is refused.
  bool put(std::string_view frame, const MacAddress& mac) const;

 private:
  MacvlanEntrance(Tap tap, ScopedFd attached) : tap_(std::move(tap)), attached_(std::move(attached)) {}
  Tap tap_;
  ScopedFd attached_;
};

// What the macvlan with this MAC sends does not leave PARENT any more, until the descriptor is closed. The calling
// thread is in the host's namespace.
Result<ScopedFd> mute_macvlan(uint32_t parent, const MacAddress& mac);

}  // namespace godwit::network
