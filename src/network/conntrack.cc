#include "network/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "network/address_text.h"

namespace godwit::network {
namespace {

constexpr std::array<uint16_t, 10> kCarried = {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS,       CTA_PROTOINFO,
                                               CTA_TIMEOUT,    CTA_MARK,        CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY,
                                               CTA_ZONE,       CTA_LABELS};

// The kernel sets all others itself, and refuses an entry that names some of them.
constexpr uint32_t kStatus = IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED | IPS_FIXED_TIMEOUT;

nfgenmsg header_of(uint32_t family) {
  nfgenmsg header{};
  header.nfgen_family = static_cast<uint8_t>(family);
  header.version = NFNETLINK_V0;
  return header;
}

constexpr uint16_t message_type(int number) { return static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | number); }

bool is_carried(uint32_t number) { return std::ranges::find(kCarried, number) != kCarried.end(); }

std::string_view value_of(const peer::ConntrackEntry& entry, uint32_t number) {
  for (const peer::Attribute& attribute : entry.attributes())
    if (attribute.number() == number) return attribute.value();
  return {};
}

// One direction of a connection. Views into the attributes.
struct Tuple {
  std::string_view from, to, from_port, to_port;
  uint16_t address_attributes[2];  // of `from` and `to`
  std::string_view protocol;
};

Tuple parse_tuple(uint32_t family, std::string_view bytes) {
  const NetlinkAttributes tuple(bytes), addresses = tuple.nested(CTA_TUPLE_IP), ports = tuple.nested(CTA_TUPLE_PROTO);
  const bool v4 = family == AF_INET;
  Tuple parsed{.from = {},
               .to = {},
               .from_port = ports.bytes(CTA_PROTO_SRC_PORT),
               .to_port = ports.bytes(CTA_PROTO_DST_PORT),
               .address_attributes = {static_cast<uint16_t>(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC),
                                      static_cast<uint16_t>(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST)},
               .protocol = ports.bytes(CTA_PROTO_NUM)};
  parsed.from = addresses.bytes(parsed.address_attributes[0]);
  parsed.to = addresses.bytes(parsed.address_attributes[1]);
  return parsed;
}

// The kernel sets up translation itself: it wants the reply as it would be without, and what to translate to.
void add_inverse(NetlinkRequest& request, const Tuple& tuple) {
  request.nest(CTA_TUPLE_REPLY, [&](NetlinkRequest& nest) {
    nest.nest(CTA_TUPLE_IP, [&](NetlinkRequest& addresses) {
      addresses.add(tuple.address_attributes[0], tuple.to);
      addresses.add(tuple.address_attributes[1], tuple.from);
    });
    nest.nest(CTA_TUPLE_PROTO, [&](NetlinkRequest& ports) {
      ports.add(CTA_PROTO_NUM, tuple.protocol);
      ports.add(CTA_PROTO_SRC_PORT, tuple.to_port);
      ports.add(CTA_PROTO_DST_PORT, tuple.from_port);
    });
  });
}

void add_translation(NetlinkRequest& request, uint16_t attribute, uint32_t family, std::string_view address,
                     std::string_view port) {
  const bool v4 = family == AF_INET;
  request.nest(attribute, [&](NetlinkRequest& range) {
    range.add(v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, address);
    range.add(v4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, address);
    range.nest(CTA_NAT_PROTO, [&](NetlinkRequest& ports) {
      ports.add(CTA_PROTONAT_PORT_MIN, port);
      ports.add(CTA_PROTONAT_PORT_MAX, port);
    });
  });
}

// The reply's tuple, and what is translated if it is not the inverse of the other.
void add_reply(NetlinkRequest& request, const peer::ConntrackEntry& entry) {
  const Tuple original = parse_tuple(entry.family(), value_of(entry, CTA_TUPLE_ORIG));
  const Tuple reply = parse_tuple(entry.family(), value_of(entry, CTA_TUPLE_REPLY));
  const bool source = reply.to != original.from || reply.to_port != original.from_port;
  const bool destination = reply.from != original.to || reply.from_port != original.to_port;
  if (original.from_port.empty() || (!source && !destination)) {
    request.add(CTA_TUPLE_REPLY | NLA_F_NESTED, value_of(entry, CTA_TUPLE_REPLY));
    return;
  }
  add_inverse(request, original);
  if (source) add_translation(request, CTA_NAT_SRC, entry.family(), reply.to, reply.to_port);
  if (destination) add_translation(request, CTA_NAT_DST, entry.family(), reply.from, reply.from_port);
}

// TCP's state, with its flags; liberal, because the windows are not known.
void add_protocol_state(NetlinkRequest& request, std::string_view bytes) {
  const NetlinkAttributes tcp = NetlinkAttributes(bytes).nested(CTA_PROTOINFO_TCP);
  if (tcp.all().empty()) return;
  request.nest(CTA_PROTOINFO, [&](NetlinkRequest& info) {
    info.nest(CTA_PROTOINFO_TCP, [&](NetlinkRequest& nest) {
      for (const auto& [number, value] : tcp.all()) {
        if (value.empty() || number > CTA_PROTOINFO_TCP_FLAGS_REPLY) continue;
        if (number < CTA_PROTOINFO_TCP_FLAGS_ORIGINAL) {
          nest.add(number, value);
          continue;
        }
        const nf_ct_tcp_flags flags{.flags = static_cast<uint8_t>(value[0] | IP_CT_TCP_FLAG_BE_LIBERAL), .mask = 0xff};
        nest.add(number, {reinterpret_cast<const char*>(&flags), sizeof(flags)});
      }
    });
  });
}

NetlinkRequest add_request(const peer::ConntrackEntry& entry) {
  NetlinkRequest request(message_type(IPCTNL_MSG_CT_NEW), NLM_F_CREATE | NLM_F_EXCL, header_of(entry.family()));
  for (const peer::Attribute& attribute : entry.attributes()) {
    const auto number = static_cast<uint16_t>(attribute.number());
    if (number == CTA_TUPLE_REPLY) {
      add_reply(request, entry);
    } else if (number == CTA_PROTOINFO) {
      add_protocol_state(request, attribute.value());
    } else if (number == CTA_STATUS) {
      uint32_t status = 0;
      std::memcpy(&status, attribute.value().data(), std::min(sizeof(status), attribute.value().size()));
      request.add_u32(CTA_STATUS, htonl(ntohl(status) & kStatus));
    } else {
      const bool nested = number == CTA_TUPLE_ORIG || number == CTA_SEQ_ADJ_ORIG || number == CTA_SEQ_ADJ_REPLY;
      request.add(nested ? number | NLA_F_NESTED : number, attribute.value());
    }
  }
  return request;
}

}  // namespace

// The table is one for all namespaces: to look for the entries of one takes milliseconds, even if there are none.
bool tracks_nothing(RouteSocket& socket) {
  const NetlinkRequest request(message_type(IPCTNL_MSG_CT_GET_STATS), 0, header_of(AF_UNSPEC));
  std::optional<uint32_t> entries;
  auto asked = socket.query(request, [&](const NetlinkMessage& message) {
    entries = message.attributes<nfgenmsg>().u32(CTA_STATS_GLOBAL_ENTRIES);
  });
  return asked && entries == 0u;
}

Result<std::vector<peer::ConntrackEntry>> read_conntrack(RouteSocket& socket) {
  if (tracks_nothing(socket)) return {};
  std::vector<peer::ConntrackEntry> entries;
  auto each = [&](const NetlinkMessage& message) {
    const uint32_t family = message.header<nfgenmsg>().nfgen_family;
    if (message.type != message_type(IPCTNL_MSG_CT_NEW) || address_bytes(family) == 0) return;
    peer::ConntrackEntry& entry = entries.emplace_back();
    entry.set_family(family);
    const NetlinkAttributes attributes = message.attributes<nfgenmsg>();
    for (const auto& [number, value] : attributes.all()) {
      if (!is_carried(number)) continue;
      peer::Attribute& attribute = *entry.add_attributes();
      attribute.set_number(number);
      attribute.set_value(std::string(value));
    }
  };
  const NetlinkRequest request(message_type(IPCTNL_MSG_CT_GET), 0, header_of(AF_UNSPEC));
  auto read = socket.dump(request, each, [&] { entries.clear(); });
  if (!read && read.error().code() != EINVAL && read.error().code() != EOPNOTSUPP)
    return fail(std::move(read.error()).during("conntrack"));
  if (entries.size() > kConntrackMax)
    return fail(std::to_string(entries.size()) + " conntrack entries, more than " + std::to_string(kConntrackMax));
  return entries;
}

Result<size_t> write_conntrack(RouteSocket& socket, const std::vector<peer::ConntrackEntry>& entries) {
  // Without a tuple: all. An older state of a connection would be in the way of its newer one.
  auto flushed = socket.call(NetlinkRequest(message_type(IPCTNL_MSG_CT_DELETE), 0, header_of(AF_UNSPEC)));
  if (!flushed && !entries.empty()) return fail(std::move(flushed.error()).during("conntrack"));
  std::vector<NetlinkRequest> requests;
  for (const peer::ConntrackEntry& entry : entries) requests.push_back(add_request(entry));
  TRY_ASSIGN(const auto verdicts, socket.call_all(requests));
  return static_cast<size_t>(std::ranges::count_if(
      verdicts, [](const auto& verdict) { return !verdict && verdict.error().code() != EEXIST; }));
}

Result<> check_conntrack(const peer::ConntrackEntry& entry) {
  if (address_bytes(entry.family()) == 0) return fail("an address family other than IPv4 and IPv6");
  if (entry.attributes_size() > kConntrackAttributesMax) return fail("too many attributes");
  for (const peer::Attribute& attribute : entry.attributes())
    if (!is_carried(attribute.number()) || attribute.value().size() > kConntrackAttributeBytesMax)
      return fail("an attribute is not known or too long");
  return {};
}

}  // namespace godwit::network
