// Sockets that CRIU 4.2 cannot dump (criu/sk-inet.c, sk-unix.c, sk-netlink.c), seen by asking a descriptor of theirs.
#pragma once

#include <string>

namespace godwit {

// What it is about SOCKET that CRIU cannot carry, such as "a Multipath TCP socket"; empty if it can, or only CRIU can
// tell. What lasts only until the program gets to it, such as a connection to be accepted, is looked at again for up to
// 50 ms before it counts.
std::string obstacle_in_socket(int socket);

}  // namespace godwit
