#include "runtime/tcp_list.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "kernel/netns.h"
#include "kernel/rtnetlink.h"

namespace godwit {

namespace {

enum State : uint8_t { kCloseWait = 8, kLastAck = 9, kListen = 10, kClosing = 11 };  // include/net/tcp_states.h

peer::TcpKey key_of(const tcp_diag_md5sig& told) {
  peer::TcpKey key;
  const size_t bytes = told.tcpm_family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
  key.set_address(std::string(reinterpret_cast<const char*>(told.tcpm_addr), bytes));
  key.set_prefix(told.tcpm_prefixlen);
  key.set_key(std::string(reinterpret_cast<const char*>(told.tcpm_key),
                          std::min<size_t>(told.tcpm_keylen, sizeof told.tcpm_key)));
  return key;
}

std::vector<peer::TcpKey> keys_in(std::string_view list) {
  std::vector<peer::TcpKey> keys;
  for (tcp_diag_md5sig told{}; list.size() >= sizeof told; list.remove_prefix(sizeof told)) {
    std::memcpy(&told, list.data(), sizeof told);
    keys.push_back(key_of(told));
  }
  return keys;
}

// The kernel counts the peer's FIN.
uint32_t received_by(const inet_diag_msg& socket) {
  switch (socket.idiag_state) {
    case kListen:
      return 0;
    case kCloseWait:
    case kLastAck:
    case kClosing:
      return socket.idiag_rqueue - std::min(socket.idiag_rqueue, 1U);
    default:
      return socket.idiag_rqueue;
  }
}

NetlinkRequest request(int family) {
  inet_diag_req_v2 asked{};
  asked.sdiag_family = static_cast<uint8_t>(family);
  asked.sdiag_protocol = IPPROTO_TCP;
  asked.idiag_states = ~0U;
  asked.idiag_ext = 1U << (INET_DIAG_INFO - 1);  // the kernel tells keys only after it has told this
  return NetlinkRequest(SOCK_DIAG_BY_FAMILY, 0, asked);
}

}  // namespace

Result<std::map<ino_t, ListedTcp>> list_tcp_sockets(int netns_fd) {
  TRY_ASSIGN(auto diag, in_netns(netns_fd, [] { return RouteSocket::open_family(NETLINK_SOCK_DIAG); }));
  std::map<ino_t, ListedTcp> list;
  for (const int family : {AF_INET, AF_INET6}) {
    const auto of_others = list;
    const auto add = [&](const NetlinkMessage& message) {
      const auto socket = message.header<inet_diag_msg>();
      const auto attributes = message.attributes<inet_diag_msg>();
      ListedTcp told{.keys = {}, .received = received_by(socket)};
      if (attributes.has(INET_DIAG_MD5SIG)) told.keys = keys_in(attributes.bytes(INET_DIAG_MD5SIG));
      if (told.received > 0 || !told.keys.empty()) list[socket.idiag_inode] = std::move(told);
    };
    TRY(diag.dump(request(family), add, [&] { list = of_others; }));
  }
  return list;
}

}  // namespace godwit
