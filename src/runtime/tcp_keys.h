// Keys by which TCP segments are signed (TCP_MD5SIG, RFC 2385; BGP routers use it). Sockets do not tell theirs, the
// kernel's list of sockets does, to CAP_NET_ADMIN.
#pragma once

#include <sys/types.h>

#include <map>
#include <vector>

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

inline constexpr int kKeysPerSocketMax = 1024;

// Of the network namespace NETNS_FD: by the inode of the socket. About a microsecond for each TCP socket of the host.
Result<std::map<ino_t, std::vector<peer::TcpKey>>> find_tcp_keys(int netns_fd);

Result<> check_tcp_key(const peer::TcpKey& key);

// KEY has been checked. Also while the socket is in repair mode.
Result<> set_tcp_key(int socket, const peer::TcpKey& key);

}  // namespace godwit
