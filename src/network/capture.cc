#include "network/capture.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <set>
#include <string>

#include "kernel/netns.h"
#include "kernel/rtnetlink.h"
#include "network/link_message.h"
#include "network/macvlan_message.h"
#include "network/namespace_state.h"
#include "network/sysctls.h"
#include "network/validate.h"
#include "network/volatile_tables.h"

namespace godwit::network {
namespace {

// Tunnel modules put a device of their own into every new namespace. Left down, it carries nothing.
bool is_unused_tunnel(const LinkInfo& link) {
  static const std::set<std::string> kinds = {"ipip",   "sit",       "gre",       "gretap", "erspan", "ip6tnl",
                                              "ip6gre", "ip6gretap", "ip6erspan", "vti",    "vti6"};
  return !link.up && kinds.contains(link.kind);
}

Result<peer::Link> to_message(const LinkInfo& link) {
  const bool macvlan = link.kind == "macvlan";
  if (macvlan && !is_carried_macvlan_mode(link.macvlan_mode))
    return fail("link " + link.name + " is a macvlan of a mode that cannot be carried; bridge, vepa and private can");
  if (!link.loopback && link.kind != "veth" && !macvlan) {
    std::string kind = link.kind.empty() ? "a device of the machine" : "of the kind " + link.kind;
    return fail("link " + link.name + " is " + kind + "; only veth, macvlan and the loopback can be carried");
  }
  peer::Link message;
  message.set_name(link.name);
  message.set_mtu(link.mtu);
  message.set_txqlen(link.txqlen);
  message.set_index(link.index);
  message.set_up(link.up);
  message.set_loopback(link.loopback);
  if (!link.loopback) message.set_mac(link.mac);
  if (macvlan) {
    message.set_kind(link.kind);
    message.set_macvlan_mode(link.macvlan_mode);
  }
  return message;
}

Result<LinkNames> read_links(RouteSocket& socket, peer::NetworkState& state) {
  TRY_ASSIGN(auto links, list_links(socket));
  LinkNames names;
  for (const LinkInfo& link : links) {
    if (is_unused_tunnel(link)) continue;
    TRY_ASSIGN(*state.add_links(), to_message(link));
    names.add(link.index, link.name);
  }
  return names;
}

template <typename Entry>
void assign(google::protobuf::RepeatedPtrField<Entry>& field, const std::vector<Entry>& entries) {
  field.Assign(entries.begin(), entries.end());
}

Result<> read_tables(RouteSocket& socket, const LinkNames& names, peer::NetworkState& state) {
  TRY_ASSIGN(auto addresses, read_addresses(socket, names));
  TRY_ASSIGN(auto routes, read_routes(socket, names));
  TRY_ASSIGN(auto neighbours, read_neighbours(socket, names));
  TRY_ASSIGN(auto rules, read_rules(socket, names));
  assign(*state.mutable_rules(), rules);
  assign(*state.mutable_addresses(), addresses);
  assign(*state.mutable_routes(), routes);
  assign(*state.mutable_neighbours(), neighbours);
  return read_namespace_state(socket, names, state);
}

// The link that a sysctl such as ipv4/conf/eth0/forwarding belongs to; empty if it belongs to none.
std::string link_of(const std::string& sysctl) {
  size_t start = std::string::npos;
  for (const char* part : {"ipv4/conf/", "ipv4/neigh/", "ipv6/conf/", "ipv6/neigh/"})
    if (sysctl.starts_with(part)) start = std::string(part).size();
  if (start == std::string::npos) return {};
  std::string link = sysctl.substr(start, sysctl.find('/', start) - start);
  return link == "all" || link == "default" ? std::string() : link;
}

void drop_sysctls_of_other_links(const LinkNames& names, peer::NetworkState& state) {
  auto& sysctls = *state.mutable_sysctls();
  auto kept = std::remove_if(sysctls.begin(), sysctls.end(), [&](const peer::Sysctl& sysctl) {
    std::string link = link_of(sysctl.path());
    return !link.empty() && !names.index(link);
  });
  sysctls.erase(kept, sysctls.end());
}

Result<peer::NetworkState> capture_current() {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  peer::NetworkState state;
  TRY_ASSIGN(LinkNames names, read_links(socket, state));
  TRY(read_tables(socket, names, state));
  TRY(read_sysctls(state));
  drop_sysctls_of_other_links(names, state);
  // What the target would refuse is better known now.
  TRY(check_network_state(state));
  return state;
}

Result<> capture_current_volatile(peer::NetworkState& state) {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  LinkNames names;
  for (const peer::Link& link : state.links()) names.add(link.index(), link.name());
  return read_tables(socket, names, state);
}

}  // namespace

Result<peer::NetworkState> capture_namespace(int netns_fd) {
  auto state = in_netns(netns_fd, capture_current);
  if (!state) return fail(std::move(state).error().during("capturing the container's network"));
  return state;
}

Result<> capture_volatile(int netns_fd, peer::NetworkState& state) {
  TRY_DOING("capturing the container's network", in_netns(netns_fd, [&] { return capture_current_volatile(state); }));
  return {};
}

}  // namespace godwit::network
