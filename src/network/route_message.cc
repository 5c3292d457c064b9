#include "network/route_message.h"

#include <sys/socket.h>

#include <algorithm>

#include "network/address_text.h"

namespace godwit::network {
namespace {

constexpr uint32_t kHopFlags = RTNH_F_ONLINK | RTNH_F_PERVASIVE;

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// A gateway of another family than the route's (RFC 5549) comes as RTA_VIA: family, then the
// address.
std::string parse_gateway(const NetlinkAttributes& attributes) {
  std::string_view via = attributes.bytes(RTA_VIA);
  if (via.size() > sizeof(rtvia)) return std::string(via.substr(sizeof(rtvia)));
  return std::string(attributes.bytes(RTA_GATEWAY));
}

Result<> parse_hop(uint32_t index, uint32_t flags, uint32_t weight, const NetlinkAttributes& attributes,
                   const LinkNames& names, peer::Route& route) {
  peer::NextHop& hop = *route.add_hops();
  TRY_ASSIGN(*hop.mutable_link(), names.name(index));
  hop.set_gateway(parse_gateway(attributes));
  hop.set_flags(flags & kHopFlags);
  hop.set_weight(weight);
  if (attributes.has(RTA_ENCAP))
    return fail("route " + describe(route) + " encapsulates packets, which cannot be carried");
  return {};
}

Result<> parse_hops(std::string_view bytes, const LinkNames& names, peer::Route& route) {
  while (bytes.size() >= sizeof(rtnexthop)) {
    rtnexthop hop;
    std::memcpy(&hop, bytes.data(), sizeof(hop));
    if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > bytes.size()) break;
    NetlinkAttributes attributes(bytes.substr(sizeof(hop), hop.rtnh_len - sizeof(hop)));
    TRY(parse_hop(static_cast<uint32_t>(hop.rtnh_ifindex), hop.rtnh_flags, hop.rtnh_hops + 1U, attributes, names,
                  route));
    bytes.remove_prefix(std::min<size_t>(RTNH_ALIGN(hop.rtnh_len), bytes.size()));
  }
  return {};
}

void parse_metrics(const NetlinkAttributes& metrics, peer::Route& route) {
  for (const auto& [number, value] : metrics.all()) {
    peer::RouteMetric& metric = *route.add_metrics();
    metric.set_id(number);
    if (number == RTAX_CC_ALGO) {
      metric.set_text(metrics.string(number));
    } else {
      metric.set_value(metrics.u32(number).value_or(0));
    }
  }
}

// What RTA_GATEWAY or RTA_VIA says, for a hop of a route of FAMILY.
void add_gateway(NetlinkRequest& request, uint32_t family, const std::string& gateway) {
  if (gateway.empty()) return;
  if (gateway.size() == address_bytes(family)) {
    request.add(RTA_GATEWAY, gateway);
    return;
  }
  uint16_t via = AF_INET6;
  request.add(RTA_VIA, std::string(bytes_of(via)) + gateway);
}

Result<> add_hops(NetlinkRequest& request, const peer::Route& route, const LinkNames& names) {
  if (route.hops_size() == 1) {
    TRY_ASSIGN(uint32_t index, names.index(route.hops(0).link()));
    request.add_u32(RTA_OIF, index);
    add_gateway(request, route.family(), route.hops(0).gateway());
    return {};
  }
  std::string hops;
  for (const peer::NextHop& hop : route.hops()) {
    TRY_ASSIGN(uint32_t index, names.index(hop.link()));
    // An empty header lends its attribute writer; only what follows the header is used.
    NetlinkRequest attributes(0, 0, uint32_t{});
    size_t skip = attributes.bytes().size();
    add_gateway(attributes, route.family(), hop.gateway());
    std::string_view gateway = attributes.bytes().substr(skip);
    rtnexthop header{.rtnh_len = static_cast<uint16_t>(sizeof(rtnexthop) + gateway.size()),
                     .rtnh_flags = static_cast<uint8_t>(hop.flags() & kHopFlags),
                     .rtnh_hops = static_cast<uint8_t>(hop.weight() - 1),
                     .rtnh_ifindex = static_cast<int>(index)};
    hops.append(bytes_of(header)).append(gateway);
  }
  request.add(RTA_MULTIPATH, hops);
  return {};
}

}  // namespace

Result<std::optional<peer::Route>> parse_route(const NetlinkMessage& message, const LinkNames& names) {
  auto header = message.header<rtmsg>();
  auto attributes = message.attributes<rtmsg>();
  if (message.type != RTM_NEWROUTE || address_bytes(header.rtm_family) == 0 || (header.rtm_flags & RTM_F_CLONED))
    return std::nullopt;
  uint32_t table = attributes.u32(RTA_TABLE).value_or(header.rtm_table);
  // Follow from the addresses, and no user can remove them for long.
  if (table == RT_TABLE_LOCAL && header.rtm_protocol == RTPROT_KERNEL) return std::nullopt;

  peer::Route route;
  route.set_family(header.rtm_family);
  route.set_destination(std::string(attributes.bytes(RTA_DST)));
  route.set_prefix(header.rtm_dst_len);
  route.set_table(table);
  route.set_protocol(header.rtm_protocol);
  route.set_scope(header.rtm_scope);
  route.set_type(header.rtm_type);
  route.set_priority(attributes.u32(RTA_PRIORITY).value_or(0));
  route.set_source(std::string(attributes.bytes(RTA_PREFSRC)));
  route.set_tos(header.rtm_tos);
  route.set_from(std::string(attributes.bytes(RTA_SRC)));
  route.set_from_prefix(header.rtm_src_len);
  route.set_preference(attributes.u8(RTA_PREF).value_or(0));
  if (attributes.has(RTA_METRICS)) parse_metrics(attributes.nested(RTA_METRICS), route);
  auto index = attributes.u32(RTA_OIF);
  TRY(index ? parse_hop(*index, header.rtm_flags, 1, attributes, names, route)
            : parse_hops(attributes.bytes(RTA_MULTIPATH), names, route));
  return route;
}

Result<NetlinkRequest> route_request(bool remove, const peer::Route& route, const LinkNames& names) {
  rtmsg header{};
  header.rtm_family = static_cast<uint8_t>(route.family());
  header.rtm_dst_len = static_cast<uint8_t>(route.prefix());
  header.rtm_table = static_cast<uint8_t>(route.table() < 256 ? route.table() : 0);
  header.rtm_protocol = static_cast<uint8_t>(route.protocol());
  header.rtm_scope = static_cast<uint8_t>(route.scope());
  header.rtm_type = static_cast<uint8_t>(route.type());
  header.rtm_src_len = static_cast<uint8_t>(route.from_prefix());
  header.rtm_tos = static_cast<uint8_t>(route.tos());
  if (route.hops_size() == 1) header.rtm_flags = route.hops(0).flags() & kHopFlags;
  // APPEND: routes that differ in the next hop only may stand side by side.
  NetlinkRequest request(remove ? RTM_DELROUTE : RTM_NEWROUTE, remove ? 0 : NLM_F_CREATE | NLM_F_APPEND, header);
  request.add_u32(RTA_TABLE, route.table());
  if (!route.destination().empty()) request.add(RTA_DST, route.destination());
  if (!route.from().empty()) request.add(RTA_SRC, route.from());
  if (route.preference()) request.add_u8(RTA_PREF, static_cast<uint8_t>(route.preference()));
  if (route.priority()) request.add_u32(RTA_PRIORITY, route.priority());
  if (!route.source().empty()) request.add(RTA_PREFSRC, route.source());
  if (route.metrics_size() && !remove)
    request.nest(RTA_METRICS, [&](NetlinkRequest& nest) {
      for (const peer::RouteMetric& metric : route.metrics()) {
        const auto id = static_cast<uint16_t>(metric.id());
        if (id == RTAX_CC_ALGO) {
          nest.add_string(id, metric.text());
        } else {
          nest.add_u32(id, metric.value());
        }
      }
    });
  if (route.hops_size()) TRY(add_hops(request, route, names));
  return request;
}

std::string describe(const peer::Route& route) {
  std::string to = route.destination().empty()
                       ? "default"
                       : address_text(route.family(), route.destination()) + "/" + std::to_string(route.prefix());
  for (const peer::NextHop& hop : route.hops()) to += " on " + hop.link();
  return to + " in table " + std::to_string(route.table());
}

}  // namespace godwit::network
