#include "migration/target_links.h"

#include <fmt/format.h>

#include <map>

#include "kernel/rtnetlink.h"
#include "migration/source_facts.h"
#include "network/address_probe.h"
#include "network/host_port.h"
#include "network/link_message.h"
#include "network/validate.h"

namespace godwit {

namespace {

// What is to be attached to one link of this host.
struct Arrival {
  bool bridge = true;
  bool vlan_aware = false;
  std::vector<std::string> links;
  std::vector<network::MacAddress> macs;
  uint32_t mtu = 0;
  std::vector<peer::Address> addresses;
};

Result<std::map<std::string, Arrival>> arrivals(const Host& host, const peer::Preflight& request) {
  if (request.links_size() > network::kLinksMax) return fail("the source names too many links");
  std::map<std::string, Arrival> by_place;
  for (const peer::Link& link : request.links()) {
    const bool macvlan = link.kind() == "macvlan";
    Arrival& arrival = by_place[macvlan ? parent_here(host, link.parent()) : bridge_here(host, link.bridge())];
    TRY_ASSIGN(const auto mac, network::unicast_mac(link.mac()));
    arrival.bridge = !macvlan;
    arrival.vlan_aware |= link.vlan_aware();
    arrival.links.push_back(link.name());
    arrival.macs.push_back(mac);
    arrival.mtu = std::max(arrival.mtu, link.mtu());
    for (const peer::Address& address : request.addresses())
      if (address.link() == link.name()) arrival.addresses.push_back(address);
  }
  return by_place;
}

class LinkJudge {
 public:
  LinkJudge(const Host& host, std::vector<peer::Problem>& problems) : host_(host), problems_(problems) {}

  void judge(const std::string& place, const Arrival& arrival) {
    if (!check_place(place, arrival)) return;
    auto conflicts = network::find_conflicts(place, arrival.macs, arrival.addresses);
    if (!conflicts) return add("address", conflicts.error().text());
    for (const network::AddressConflict& conflict : *conflicts)
      add("address", fmt::format("{} is in use on the LAN of {} already, by {}; asked on {}", conflict.address,
                                 host_.node, conflict.holder, place));
    if (!arrival.bridge) return;
    for (const network::MacAddress& mac : arrival.macs) {
      auto uplink = network::find_port_behind(place, mac);
      if (uplink && uplink->mtu != 0 && uplink->mtu < arrival.mtu)
        return add_mtu(fmt::format("the uplink {} of {}", uplink->name, place), uplink->mtu, arrival, uplink->name);
    }
  }

 private:
  void add(const std::string& subject, const std::string& text) { problems_.push_back(problem(subject, text)); }

  void add_mtu(const std::string& what, uint32_t mtu, const Arrival& arrival, const std::string& link) {
    add("mtu", fmt::format("{} on {} has an MTU of {}, the container's {} has {}: its larger packets would be lost; "
                           "ip link set {} mtu {}",
                           what, host_.node, mtu, arrival.links.front(), arrival.mtu, link, arrival.mtu));
  }

  bool check_place(const std::string& place, const Arrival& arrival) {
    auto socket = RouteSocket::open();
    auto link = socket ? network::find_link(*socket, place) : Result<network::LinkInfo>(fail(socket.error()));
    const bool missing = !link || (arrival.bridge && link->kind != "bridge");
    if (missing || !link->up) {
      const std::string why = !link ? "does not exist" : missing ? "is no bridge" : "is down";
      add("bridge",
          fmt::format("{}, for the container's {}, {} on {}; network.bridge and [links] in its godwit.toml name "
                      "the links to use",
                      place, arrival.links.front(), why, host_.node));
      return false;
    }
    if (arrival.bridge && link->vlan_aware != arrival.vlan_aware)
      add("bridge", fmt::format("{} on {} {} VLANs and the container's bridge on the source {}; ip link set {} type "
                                "bridge vlan_filtering {:d}",
                                place, host_.node, link->vlan_aware ? "filters" : "does not filter",
                                arrival.vlan_aware ? "does" : "does not", place, arrival.vlan_aware));
    if (link->mtu < arrival.mtu) add_mtu(place, link->mtu, arrival, place);
    return true;
  }

  const Host& host_;
  std::vector<peer::Problem>& problems_;
};

}  // namespace

std::string bridge_here(const Host& host, const std::string& bridge) {
  if (auto found = host.links.find(bridge); found != host.links.end()) return found->second;
  return host.bridge.empty() ? bridge : host.bridge;
}

std::string parent_here(const Host& host, const std::string& parent) {
  auto found = host.links.find(parent);
  return found == host.links.end() ? parent : found->second;
}

peer::NetworkState with_links_here(const Host& host, peer::NetworkState state) {
  for (peer::Link& link : *state.mutable_links()) {
    if (!link.bridge().empty()) link.set_bridge(bridge_here(host, link.bridge()));
    if (!link.parent().empty()) link.set_parent(parent_here(host, link.parent()));
  }
  return state;
}

std::vector<peer::Problem> judge_links(const Host& host, const peer::Preflight& request) {
  std::vector<peer::Problem> problems;
  auto by_place = arrivals(host, request);
  if (!by_place) return {problem("network", by_place.error().text())};
  for (const auto& [place, arrival] : *by_place) LinkJudge(host, problems).judge(place, arrival);
  return problems;
}

}  // namespace godwit
