// The nftables ruleset of a namespace, in the JSON of libnftables-json(5), written and read by the program nft.
//
// Rules from a peer go to nft, which runs as root in the container's namespace. Only JSON is passed on, checked and
// written anew: objects of the ruleset and nothing that acts; strings without quotes, backslashes and control
// characters, so that nothing can be taken for nft's own language, whose `include` reads files.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit::network {

inline constexpr size_t kNftablesBytesMax = size_t{4} << 20;
inline constexpr int kNftablesDepthMax = 32;
inline constexpr int kNftablesObjectsMax = 65536;

// Of the calling thread's network namespace: a JSON array of the objects, in the order in which they can be added.
// Empty if there is none; then nft is not started. An error names what cannot be carried: rules of iptables-nft that
// nft cannot express, iptables' own (legacy) tables, IPsec; or that nft is missing. About 15 ms if there are rules.
Result<std::string> read_nftables();

// Replaces the ruleset of the calling thread's network namespace by RULES, which is checked first; empty: by none.
Result<> write_nftables(const std::string& rules);

// RULES may come from a peer.
Result<> check_nftables(const std::string& rules);

// Whether nft is there, which write_nftables needs.
bool has_nft();

}  // namespace godwit::network
