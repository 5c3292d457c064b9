// Conntrack entries of a namespace: without them, a rule such as "established connections may pass" would take the
// container's connections for new ones.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "peer.pb.h"

namespace godwit::network {

inline constexpr int kConntrackMax = 65536;
inline constexpr int kConntrackAttributesMax = 32;
inline constexpr size_t kConntrackAttributeBytesMax = 512;

// Of SOCKET's namespace; SOCKET is of the family NETLINK_NETFILTER. Empty where the kernel has no conntrack.
// Helpers and expectations are not carried: an FTP connection that expects another is.
Result<std::vector<peer::ConntrackEntry>> read_conntrack(RouteSocket& socket);

// Makes ENTRIES, which have passed check_conntrack, those of the namespace, for which nothing else may be tracked yet.
// Returns how many the kernel refused.
Result<size_t> write_conntrack(RouteSocket& socket, const std::vector<peer::ConntrackEntry>& entries);

// ENTRY may come from a peer.
Result<> check_conntrack(const peer::ConntrackEntry& entry);

}  // namespace godwit::network
