// What the kernel's list of TCP sockets tells to CAP_NET_ADMIN, and the sockets themselves do not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

struct ListedTcp {
  std::vector<peer::TcpKey> keys;  // by which segments are signed (tcp_keys.h)
  uint32_t received = 0;           // of a connection: bytes in its queue, also behind a mark of urgent data
};

// Of the network namespace NETNS_FD: those that there is something to say of, by the inode of the socket. About a
// microsecond for each TCP socket of the host.
Result<std::map<ino_t, ListedTcp>> list_tcp_sockets(int netns_fd);

}  // namespace godwit
