#include "network/rule_message.h"

#include <linux/fib_rules.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "network/address_text.h"

namespace godwit::network {
namespace {

// What a user may set; the rest, such as "its link is missing", is the kernel's.
constexpr uint32_t kRuleFlags = FIB_RULE_INVERT | FIB_RULE_FIND_SADDR;

// In newer headers.
constexpr uint16_t kFraDscp = 25, kFraDscpMask = 27;

bool is_selector(uint32_t attribute) {
  static constexpr std::array kSelectors = {uint16_t{FRA_DST},
                                            uint16_t{FRA_SRC},
                                            uint16_t{FRA_IIFNAME},
                                            uint16_t{FRA_GOTO},
                                            uint16_t{FRA_PRIORITY},
                                            uint16_t{FRA_FWMARK},
                                            uint16_t{FRA_FLOW},
                                            uint16_t{FRA_TUN_ID},
                                            uint16_t{FRA_SUPPRESS_IFGROUP},
                                            uint16_t{FRA_TABLE},
                                            uint16_t{FRA_FWMASK},
                                            uint16_t{FRA_OIFNAME},
                                            uint16_t{FRA_L3MDEV},
                                            uint16_t{FRA_UID_RANGE},
                                            uint16_t{FRA_PROTOCOL},
                                            uint16_t{FRA_IP_PROTO},
                                            uint16_t{FRA_SPORT_RANGE},
                                            uint16_t{FRA_DPORT_RANGE},
                                            kFraDscp,
                                            kFraDscpMask,
                                            uint16_t{FRA_SUPPRESS_PREFIXLEN}};
  return std::ranges::find(kSelectors, attribute) != kSelectors.end();
}

uint32_t number_in(const peer::Rule& rule, uint32_t attribute) {
  uint32_t value = 0;
  for (const peer::Attribute& entry : rule.attributes())
    if (entry.number() == attribute && entry.value().size() == sizeof(value))
      std::memcpy(&value, entry.value().data(), sizeof(value));
  return value;
}

}  // namespace

Result<std::optional<peer::Rule>> parse_rule(const NetlinkMessage& message, const LinkNames&) {
  auto header = message.header<fib_rule_hdr>();
  auto attributes = message.attributes<fib_rule_hdr>();
  if (message.type != RTM_NEWRULE || address_bytes(header.family) == 0) return std::nullopt;
  peer::Rule rule;
  rule.set_family(header.family);
  rule.set_action(header.action);
  rule.set_flags(header.flags & kRuleFlags);
  rule.set_tos(header.tos);
  rule.set_from_prefix(header.src_len);
  rule.set_to_prefix(header.dst_len);
  for (const auto& [number, value] : attributes.all()) {
    if (!is_selector(number)) continue;
    peer::Attribute& attribute = *rule.add_attributes();
    attribute.set_number(number);
    attribute.set_value(std::string(value));
  }
  // Without one the kernel would choose a priority.
  if (!attributes.has(FRA_PRIORITY)) {
    peer::Attribute& priority = *rule.add_attributes();
    priority.set_number(FRA_PRIORITY);
    priority.set_value(std::string(sizeof(uint32_t), '\0'));
  }
  return rule;
}

Result<NetlinkRequest> rule_request(bool remove, const peer::Rule& rule, const LinkNames&) {
  fib_rule_hdr header{};
  header.family = static_cast<uint8_t>(rule.family());
  header.action = static_cast<uint8_t>(rule.action());
  header.flags = rule.flags() & kRuleFlags;
  header.tos = static_cast<uint8_t>(rule.tos());
  header.src_len = static_cast<uint8_t>(rule.from_prefix());
  header.dst_len = static_cast<uint8_t>(rule.to_prefix());
  NetlinkRequest request(remove ? RTM_DELRULE : RTM_NEWRULE, remove ? 0 : NLM_F_CREATE | NLM_F_EXCL, header);
  for (const peer::Attribute& attribute : rule.attributes())
    request.add(static_cast<uint16_t>(attribute.number()), attribute.value());
  return request;
}

Result<> check_rule(const peer::Rule& rule) {
  const size_t bits = 8 * address_bytes(rule.family());
  if (bits == 0) return fail("an address family other than IPv4 and IPv6");
  if (rule.action() > UINT8_MAX || rule.tos() > UINT8_MAX || rule.from_prefix() > bits || rule.to_prefix() > bits)
    return fail("a number is out of range");
  if (rule.attributes_size() > kRuleAttributesMax) return fail("too many attributes");
  for (const peer::Attribute& attribute : rule.attributes())
    if (!is_selector(attribute.number()) || attribute.value().size() > kRuleAttributeBytesMax)
      return fail("an attribute is not known or too long");
  return {};
}

std::string describe(const peer::Rule& rule) {
  return std::string(rule.family() == AF_INET ? "IPv4" : "IPv6") + " rule " +
         std::to_string(number_in(rule, FRA_PRIORITY)) + " for table " + std::to_string(number_in(rule, FRA_TABLE));
}

}  // namespace godwit::network
