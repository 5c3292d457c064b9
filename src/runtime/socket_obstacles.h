// Sockets that CRIU 4.2 cannot dump (criu/sk-inet.c, sk-unix.c, sk-netlink.c), seen by asking a descriptor of theirs.
#pragma once

#include <netinet/in.h>

#include <string>
#include <string_view>
#include <vector>

namespace godwit {

// A multicast group that some socket of a network namespace has joined, on a link of it.
struct MulticastGroup {
  int link;
  in6_addr address;  // IPv4 mapped
};

// From the texts of /proc/PID/net/igmp and igmp6; without those that every host is in (RFC 1112, RFC 4291 section 2.8).
std::vector<MulticastGroup> joined_groups(std::string_view igmp, std::string_view igmp6);

// What it is about SOCKET that CRIU cannot carry, such as "a Multipath TCP socket"; empty if it can, or only CRIU can
// tell. What lasts only until the program gets to it, such as a connection to be accepted, is looked at again for up to
// 50 ms before it counts. GROUPS: of the socket's namespace; CRIU forgets which of them a socket has joined.
std::string obstacle_in_socket(int socket, const std::vector<MulticastGroup>& groups = {});

}  // namespace godwit
