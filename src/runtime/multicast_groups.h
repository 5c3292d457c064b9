// Multicast groups that sockets have joined. CRIU 4.2 forgets them, and the kernel tells them of a whole network
// namespace only: so each group is asked for at each socket.
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

inline constexpr int kMembershipsPerSocketMax = 4096;
inline constexpr int kMulticastSourcesMax = 1024;  // net.ipv4.igmp_max_msf is 10, net.ipv6.mld_max_msf 64, by default

// A multicast group that some socket of a network namespace has joined, on a link of it.
struct MulticastGroup {
  int link;
  in6_addr address;  // IPv4 mapped
};

// From the texts of /proc/PID/net/igmp and igmp6; without those that every host is in (RFC 1112, RFC 4291 section 2.8).
std::vector<MulticastGroup> joined_groups(std::string_view igmp, std::string_view igmp6);
// Of the network namespace of PID.
std::vector<MulticastGroup> groups_around(pid_t pid);

// None: SOCKET has not joined GROUP. Its `address` is left empty.
std::optional<peer::Membership> membership_in(int socket, const MulticastGroup& group);

Result<> check_membership(const peer::Membership& membership);

// MEMBERSHIP has been checked. The kernel then tells the LAN, within some milliseconds and again within a second.
Result<> join_group(int socket, const peer::Membership& membership);
// Leaves and joins: the LAN is told once more.
Result<> rejoin_group(int socket, const peer::Membership& membership);

}  // namespace godwit
