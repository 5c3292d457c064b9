// Frames of a macvlan on their way between its parent and a program. A macvlan has no port that could be diverted: its
// frames come to the parent and are told apart by their MAC. Here a program at the parent (kernel/link_program.h) sends
// what is for the container to a tap, before the macvlan gets it; and what is written to another tap is for the parent
// as if it had come from its LAN, so that the macvlan gets it, whatever its mode.
//
// The programs are attached beforehand and do nothing until a word that they share with the agent says so. So each
// frame goes either to the tap or to the macvlan, and from one to the other all change at one moment.
//
// Nothing outlives the agent: taps and programs go with their descriptors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/link_program.h"
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
  // others as well, a copy comes. What MacvlanEntrance puts in goes to the macvlan all the same.
  void begin();

  int fd() const { return tap_.fd.get(); }  // one frame per read
  void note_read(std::string_view frame);   // that has been read from it, and put in if it is to be

  // Ends it if all frames for the macvlan alone that have been diverted have been read: those that it gets directly
  // come after them. Kernel and reader count; where the kernel does not know into how many frames it will cut a large
  // one, a few may still come.
  bool end_if_all_read();
  // Ends it at once. What has been diverted is in the tap afterwards. Takes some ms.
  void end();

 private:
  MacvlanDiversion(Tap tap, const MacAddress& mac, SharedWord word, std::vector<ScopedFd> attached)
      : tap_(std::move(tap)), mac_(mac), word_(std::move(word)), attached_(std::move(attached)) {}
  Tap tap_;
  MacAddress mac_;
  SharedWord word_;  // a bit: it is off; above it the number of frames that were diverted
  std::vector<ScopedFd> attached_;
  uint64_t read_ = 0;  // of them
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

// Keeps what a macvlan with this MAC sends from leaving its parent, when it is on.
class MacvlanMute {
 public:
  // Off. The calling thread is in the host's namespace. An error where the kernel has no such programs.
  static Result<MacvlanMute> make(uint32_t parent, const MacAddress& mac);
  void set(bool on) { word_.get() = on ? 1 : 0; }

 private:
  MacvlanMute(SharedWord word, ScopedFd attached) : word_(std::move(word)), attached_(std::move(attached)) {}
  SharedWord word_;
  ScopedFd attached_;
};

}  // namespace godwit::network
