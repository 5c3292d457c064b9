// Keys by which TCP segments are signed (TCP_MD5SIG, RFC 2385; BGP routers use it). tcp_list.h has those that there
// are.
#pragma once

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

inline constexpr int kKeysPerSocketMax = 1024;

Result<> check_tcp_key(const peer::TcpKey& key);

// KEY has been checked. Also while the socket is in repair mode.
Result<> set_tcp_key(int socket, const peer::TcpKey& key);

}  // namespace godwit
