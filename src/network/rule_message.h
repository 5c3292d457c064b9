// Rules of policy routing: rtnetlink's messages to ours and back. Selectors are carried as the kernel's own attributes,
// since a rule has some twenty of them and only the kernel reads them.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

inline constexpr int kRuleAttributesMax = 32;
inline constexpr size_t kRuleAttributeBytesMax = 64;

// Empty for a message about anything but a rule for IPv4 or IPv6.
Result<std::optional<peer::Rule>> parse_rule(const NetlinkMessage& message, const LinkNames& names);

// The request that adds (REMOVE false) or removes the rule, which has passed check_rule.
Result<NetlinkRequest> rule_request(bool remove, const peer::Rule& rule, const LinkNames& names);

// RULE may come from a peer.
Result<> check_rule(const peer::Rule& rule);

// For error messages.
std::string describe(const peer::Rule& rule);

}  // namespace godwit::network
