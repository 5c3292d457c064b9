#include "network/validate.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>
#include <set>
#include <string>

#include "network/address_text.h"
#include "network/bridge_vlans.h"
#include "network/conntrack.h"
#include "network/mac.h"
#include "network/macvlan_message.h"
#include "network/nftables.h"
#include "network/qdiscs.h"
#include "network/rule_message.h"

namespace godwit::network {
namespace {

constexpr uint32_t kMtuMin = 68;  // IPv4's least
constexpr uint32_t kMtuMax = 65535;
constexpr uint32_t kTxqlenMax = 1'000'000;
constexpr size_t kSysctlPathBytesMax = 256;

using Names = std::set<std::string>;

Result<> check_count(int count, int max, const char* what) {
  if (count > max) return fail(std::to_string(count) + " " + what + ", more than " + std::to_string(max));
  return {};
}

// The kernel's dev_valid_name, and no character that could trouble a terminal or a path.
bool is_link_name(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != '%'; });
}

Result<> check_link(const peer::Link& link) {
  if (!is_link_name(link.name())) return fail("a link's name is not valid");
  if (link.loopback() != (link.name() == "lo")) return fail("the loopback link, and only that, must be called lo");
  if (link.index() > INT_MAX) return fail("link " + link.name() + ": index out of range");
  if (link.loopback()) return {};
  TRY_DOING("link " + link.name(), unicast_mac(link.mac()));
  if (link.mtu() < kMtuMin || link.mtu() > kMtuMax) return fail("link " + link.name() + ": MTU out of range");
  if (!link.bridge().empty() && !is_link_name(link.bridge())) return fail("the name of a bridge is not valid");
  TRY(check_count(link.vlans_size(), kVlanIdMax, "VLANs"));
  for (const peer::Vlan& vlan : link.vlans())
    if (vlan.id() < 1 || vlan.id() > kVlanIdMax) return fail("link " + link.name() + ": a VLAN is out of range");
  if (link.kind() == "macvlan") {
    if ((!link.parent().empty() && !is_link_name(link.parent())) || !is_carried_macvlan_mode(link.macvlan_mode()))
      return fail("link " + link.name() + ": parent or mode not valid");
  } else if (!link.kind().empty()) {
    return fail("link " + link.name() + " is of a kind that cannot be carried");
  }
  if (link.txqlen() > kTxqlenMax) return fail("link " + link.name() + ": queue length out of range");
  return {};
}

Result<Names> check_links(const peer::NetworkState& state) {
  Names names;
  for (const peer::Link& link : state.links()) {
    TRY(check_link(link));
    if (!names.insert(link.name()).second) return fail("two links are called " + link.name());
  }
  return names;
}

Result<> check_link_known(const std::string& link, const Names& links) {
  if (!links.contains(link)) return fail("names a link that is not in the list");
  return {};
}

Result<> check_family(uint32_t family) {
  if (address_bytes(family) == 0) return fail("an address family other than IPv4 and IPv6");
  return {};
}

bool fits(uint32_t family, const std::string& address) { return address.size() == address_bytes(family); }

bool fits_or_empty(uint32_t family, const std::string& address) { return address.empty() || fits(family, address); }

bool prefix_fits(uint32_t family, uint32_t prefix) { return prefix <= 8 * address_bytes(family); }

Result<> check_address(const peer::Address& address, const Names& links) {
  TRY(check_family(address.family()));
  TRY(check_link_known(address.link(), links));
  uint32_t family = address.family();
  if (!fits(family, address.address()) || !fits_or_empty(family, address.peer()) ||
      !fits_or_empty(family, address.broadcast()) || !prefix_fits(family, address.prefix()))
    return fail("wrong size");
  if (address.scope() > UINT8_MAX) return fail("scope out of range");
  if (!address.label().empty() && address.label().size() >= IFNAMSIZ) return fail("label too long");
  if (address.label().find('\0') != std::string::npos) return fail("label not valid");
  return {};
}

Result<> check_hop(const peer::NextHop& hop, uint32_t family, const Names& links) {
  TRY(check_link_known(hop.link(), links));
  bool via_other_family = family == AF_INET && fits(AF_INET6, hop.gateway());
  if (!fits_or_empty(family, hop.gateway()) && !via_other_family) return fail("wrong size");
  if (hop.weight() < 1 || hop.weight() > 256) return fail("weight out of range");
  return {};
}

Result<> check_route(const peer::Route& route, const Names& links) {
  TRY(check_family(route.family()));
  uint32_t family = route.family();
  if (!fits_or_empty(family, route.destination()) || !fits_or_empty(family, route.source()) ||
      !prefix_fits(family, route.prefix()) || (route.destination().empty() && route.prefix()))
    return fail("wrong size");
  if (!fits_or_empty(family, route.from()) || !prefix_fits(family, route.from_prefix())) return fail("wrong size");
  if (std::max({route.protocol(), route.scope(), route.type(), route.tos(), route.preference()}) > UINT8_MAX)
    return fail("a number is out of range");
  TRY(check_count(route.hops_size(), kHopsMax, "next hops"));
  TRY(check_count(route.metrics_size(), kMetricsMax, "metrics"));
  for (const peer::NextHop& hop : route.hops()) TRY(check_hop(hop, family, links));
  for (const peer::RouteMetric& metric : route.metrics())
    if (metric.id() == 0 || metric.id() > RTAX_MAX || metric.text().size() > kMetricTextBytesMax)
      return fail("a metric is not known");
  return {};
}

Result<> check_neighbour(const peer::Neighbour& neighbour, const Names& links) {
  TRY(check_family(neighbour.family()));
  TRY(check_link_known(neighbour.link(), links));
  if (!fits(neighbour.family(), neighbour.address()) || neighbour.mac().size() != 6) return fail("wrong size");
  uint32_t state = neighbour.state();
  if (state != NUD_PERMANENT && state != NUD_REACHABLE && state != NUD_STALE) return fail("state not valid");
  return {};
}

Result<> check_sysctl(const peer::Sysctl& sysctl) {
  if (!is_allowed_sysctl(sysctl.path())) return fail("path not allowed");
  if (!is_allowed_sysctl_value(sysctl.value())) return fail("value not allowed");
  return {};
}

}  // namespace

bool is_allowed_sysctl(const std::string& path) {
  constexpr const char* kParts[] = {"core/", "ipv4/", "ipv6/", "netfilter/", "unix/"};
  if (path.size() > kSysctlPathBytesMax) return false;
  if (std::none_of(std::begin(kParts), std::end(kParts), [&](const char* part) { return path.starts_with(part); }))
    return false;
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find('/', at), path.size());
    std::string component = path.substr(at, end - at);
    if (component.empty() || component == "." || component == "..") return false;
    at = end + 1;
  }
  return std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_allowed_sysctl_value(const std::string& value) {
  return !value.empty() && value.size() <= kSysctlValueBytesMax &&
         std::all_of(value.begin(), value.end(), [](char c) { return c == '\t' || (c >= ' ' && c < 0x7f); });
}

Result<> check_network_state(const peer::NetworkState& state) {
  TRY(check_count(state.links_size(), kLinksMax, "links"));
  TRY(check_count(state.addresses_size(), kAddressesMax, "addresses"));
  TRY(check_count(state.routes_size(), kRoutesMax, "routes"));
  TRY(check_count(state.neighbours_size(), kNeighboursMax, "neighbours"));
  TRY(check_count(state.sysctls_size(), kSysctlsMax, "sysctls"));
  TRY(check_count(state.rules_size(), kRulesMax, "rules"));
  TRY(check_count(state.qdiscs_size(), kQdiscsMax, "queueing disciplines"));
  TRY(check_count(state.conntrack_size(), kConntrackMax, "conntrack entries"));
  TRY_ASSIGN(const Names links, check_links(state));
  for (const auto& entry : state.addresses()) TRY_DOING("an address", check_address(entry, links));
  for (const auto& entry : state.routes()) TRY_DOING("a route", check_route(entry, links));
  for (const auto& entry : state.neighbours()) TRY_DOING("a neighbour", check_neighbour(entry, links));
  for (const auto& entry : state.sysctls()) TRY_DOING("a sysctl", check_sysctl(entry));
  for (const auto& entry : state.rules()) TRY_DOING("a rule", check_rule(entry));
  for (const auto& entry : state.qdiscs()) {
    TRY_DOING("a queueing discipline", check_qdisc(entry));
    TRY_DOING("a queueing discipline", check_link_known(entry.link(), links));
  }
  for (const auto& entry : state.conntrack()) TRY_DOING("a conntrack entry", check_conntrack(entry));
  TRY(check_nftables(state.nftables()));
  return {};
}

}  // namespace godwit::network
