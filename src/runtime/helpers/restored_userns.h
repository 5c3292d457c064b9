// For the other files of the library: what CRIU may not do in a user namespace.
#pragma once

namespace userns {

// Of the library's own descriptor, which CRIU is not to close.
bool is_connection(int fd);

// Whether there is somebody to ask: errno is EPERM, and the agent restores into a user namespace.
bool was_refused();
// setsockopt(TCP_REPAIR) and a raw socket of CRIU's for FD's or DOMAIN's namespace, made by the agent. -1 and errno.
int set_tcp_repair(int fd, int value);
int raw_socket(int domain);

}  // namespace userns
