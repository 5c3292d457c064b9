// Taking a container's ports off their bridges. The links stay up: a link that goes down and up
// again reports its carrier late, up to a second, and the container would see it. A port that
// leaves its bridge is put back with the settings it had (isolation, flooding, learning, cost, …).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/host_port.h"
#include "network/macvlan_frames.h"

namespace godwit::network {

// Safe to use from any thread once prepared: the socket stays in the namespace of the thread that
// prepared it.
class PortDetachment {
 public:
  // Reads the ports' settings. Changes nothing.
  // NETNS_FD, the container's, is needed if one of them is a macvlan: that one is taken off its LAN in place.
  static Result<PortDetachment> prepare(std::vector<HostPort> ports, int netns_fd = -1);
  PortDetachment(PortDetachment&& other) noexcept;
  PortDetachment& operator=(PortDetachment&&) = delete;
  ~PortDetachment();  // reattaches, unless committed

  // All ports leave their bridges; the kernel may take some ms. After it, no frame gets in or out (of a macvlan out, on
  // a kernel that cannot mute it: MacvlanMute). What the container has sent a moment before may be lost
  // (await_silence). An error: all are back.
  Result<> detach();
  // Only the macvlans: no frame gets in there any more.
  Result<> detach_macvlans();

  // Returns when nothing has left by the ports for a while, at once after that or at UNTIL: what a frozen container's
  // sockets send as their windows allow is out.
  void await_silence(Clock::time_point until);

  // Back to the bridges. Fine if nothing is detached, and for ports that have vanished.
  Result<> reattach();

  // They stay off. Macvlans are removed, as long as they are muted: for a second after a change of its mode the kernel
  // reports a link's multicast groups, and a switch would learn from that where the container was. Afterwards it may
  // come back, with the same MAC.
  void commit();

  // What another process needs to reattach them if this one is killed; no secret, some hundred bytes.
  std::string record() const;
  // Of such a record: reattach() puts the ports back, and so does the destructor. NETNS_FD as in prepare().
  static Result<PortDetachment> recorded(const std::string& record, int netns_fd = -1);

  bool detached() const { return detached_; }
  const std::vector<HostPort>& ports() const { return ports_; }

 private:
  PortDetachment(RouteSocket socket, std::vector<HostPort> ports, std::vector<std::string> settings);
  NetlinkRequest off_request(const HostPort& port) const;
  Result<uint64_t> frames_sent();  // by the container, since its links were made
  void make_mutes();               // in the host's namespace
  void mute(bool on);
  Result<> detach_if(const std::function<bool(const HostPort&)>& chosen);
  RouteSocket& socket_of(const HostPort& port) { return port.macvlan ? *inside_ : socket_; }
  RouteSocket socket_;
  std::optional<RouteSocket> inside_;  // in the container's namespace
  std::vector<HostPort> ports_;
  std::vector<std::string> settings_;  // of each port: attributes of IFLA_PROTINFO to write back
  std::vector<MacvlanMute> mutes_;     // of macvlans
  bool detached_ = false;
};

}  // namespace godwit::network
