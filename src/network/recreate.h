// A container's network namespace, made again on the target from what the source captured: ready,
// up, and not on the bridge until attach(). Everything in the message comes from a peer and is
// checked before use.
//
//   create ─▶ apply_volatile (any number of times) ─▶ attach ─▶ commit
//        └────────────┴───────────────────────────────┴──▶ destroy (or the destructor)
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "network/mac.h"
#include "network/macvlan_frames.h"
#include "peer.pb.h"

namespace godwit::network {

// The host's end of one of the container's veths. A macvlan has none: index 0.
struct HostEnd {
  uint32_t index = 0;
  std::string name;  // gw…
  MacAddress container_mac{};
  uint32_t bridge_index = 0;
  bool macvlan = false;
  uint32_t parent_index = 0;  // of a macvlan
};

// The host is the network namespace of the thread that calls create(); later calls may come from
// any thread, one at a time.
class RecreatedNamespace {
 public:
  // Makes the namespace at NETNS_PATH (below /run, must not exist) and a veth or macvlan for each link. The link's
  // bridge or parent, on this host, is where attach() will put it. ID is the migration's (16 hexadecimal
  // digits) and makes the host ends' names unique. About 20 ms; up to 3 seconds if the kernel is
  // slow to report carriers. On error nothing is left.
  static Result<RecreatedNamespace> create(const peer::NetworkState& state, const std::string& netns_path,
                                           const std::string& id);
  RecreatedNamespace(RecreatedNamespace&& other) noexcept;
  RecreatedNamespace& operator=(RecreatedNamespace&&) = delete;
  ~RecreatedNamespace();  // destroys, unless committed

  // Makes all but links and sysctls equal to STATE's: adds, replaces and removes. Under 1 ms if nothing
  // changed; 15 ms if there are nftables rules. STATE's links are those given to create().
  Result<> apply_volatile(const peer::NetworkState& state);

  // Puts the links on their bridges and LANs, about 0.1 ms each. Fine if they are already.
  Result<> attach();

  // Removes links and namespace. Fine if they are gone.
  void destroy();

  // They stay.
  void commit() { owned_ = false; }

  int netns_fd() const { return netns_.get(); }
  const std::string& netns_path() const { return path_; }
  const std::vector<HostEnd>& host_ends() const { return host_ends_; }

  // Whether the LANs hear nothing from it before attach(). Not where there are macvlans and the kernel cannot mute
  // them.
  bool silent() const { return silent_; }

  // What could not be made as it was and does not prevent the migration: an index taken, a sysctl
  // this kernel lacks.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  RecreatedNamespace(RouteSocket host, ScopedFd host_netns, std::string path)
      : host_(std::move(host)), host_netns_(std::move(host_netns)), path_(std::move(path)) {}
  Result<> fill(const peer::NetworkState& state, const std::string& id);
  Result<> make_link(const peer::Link& link, const std::string& host_name);
  Result<HostEnd> make_veth(const peer::Link& link, const std::string& host_name);
  Result<HostEnd> make_macvlan(const peer::Link& link, const std::string& host_name);
  Result<> call_with_index(RouteSocket& socket, uint32_t index, const std::function<NetlinkRequest(uint32_t)>& request);
  Result<> attach_macvlan(const peer::Link& link);
  Result<> bring_up(const peer::NetworkState& state);
  Result<bool> all_ready(const peer::NetworkState& state);
  Result<> await_ready(const peer::NetworkState& state);
  Result<> write_state(const peer::NetworkState& state);
  Result<> set_sysctls(const peer::NetworkState& state, bool while_down);

  RouteSocket host_;                   // in the host's namespace
  std::optional<RouteSocket> inside_;  // in the container's
  ScopedFd host_netns_;
  ScopedFd netns_;
  std::string path_;
  peer::NetworkState state_;  // as of the last change, without sysctls
  LinkNames names_;           // of the container's links
  std::vector<HostEnd> host_ends_;
  std::vector<MacvlanMute> mutes_;  // of the MACs that macvlans have until attach()
  bool silent_ = true;
  std::vector<std::string> notes_;
  bool owned_ = true;
};

}  // namespace godwit::network
