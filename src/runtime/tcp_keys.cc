#include "runtime/tcp_keys.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "kernel/netns.h"
#include "kernel/rtnetlink.h"

namespace godwit {

namespace {

constexpr size_t kAddressBytesV4 = 4, kAddressBytesV6 = 16;

peer::TcpKey key_of(const tcp_diag_md5sig& told) {
  peer::TcpKey key;
  const size_t bytes = told.tcpm_family == AF_INET ? kAddressBytesV4 : kAddressBytesV6;
  key.set_address(std::string(reinterpret_cast<const char*>(told.tcpm_addr), bytes));
  key.set_prefix(told.tcpm_prefixlen);
  key.set_key(std::string(reinterpret_cast<const char*>(told.tcpm_key),
                          std::min<size_t>(told.tcpm_keylen, sizeof told.tcpm_key)));
  return key;
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

Result<std::map<ino_t, std::vector<peer::TcpKey>>> find_tcp_keys(int netns_fd) {
  TRY_ASSIGN(auto diag, in_netns(netns_fd, [] { return RouteSocket::open_family(NETLINK_SOCK_DIAG); }));
  std::map<ino_t, std::vector<peer::TcpKey>> keys;
  for (const int family : {AF_INET, AF_INET6}) {
    const auto of_others = keys;
    const auto add = [&](const NetlinkMessage& message) {
      const auto socket = message.header<inet_diag_msg>();
      const auto attributes = message.attributes<inet_diag_msg>();
      if (!attributes.has(INET_DIAG_MD5SIG)) return;
      std::string_view list = attributes.bytes(INET_DIAG_MD5SIG);
      for (tcp_diag_md5sig told{}; list.size() >= sizeof told; list.remove_prefix(sizeof told)) {
        std::memcpy(&told, list.data(), sizeof told);
        keys[socket.idiag_inode].push_back(key_of(told));
      }
    };
    TRY(diag.dump(request(family), add, [&] { keys = of_others; }));
  }
  return keys;
}

Result<> check_tcp_key(const peer::TcpKey& key) {
  if (key.address().size() != kAddressBytesV4 && key.address().size() != kAddressBytesV6)
    return fail("a TCP key for an odd address");
  if (key.prefix() > key.address().size() * 8) return fail("a TCP key for an odd prefix");
  if (key.key().empty() || key.key().size() > TCP_MD5SIG_MAXKEYLEN) return fail("a TCP key of an odd size");
  return {};
}

Result<> set_tcp_key(int socket, const peer::TcpKey& key) {
  int family = 0;
  socklen_t length = sizeof family;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0) return fail_errno("SO_DOMAIN");
  tcp_md5sig wanted{};
  wanted.tcpm_flags = TCP_MD5SIG_FLAG_PREFIX;
  wanted.tcpm_prefixlen = static_cast<uint8_t>(key.prefix());
  wanted.tcpm_keylen = static_cast<uint16_t>(key.key().size());
  std::memcpy(wanted.tcpm_key, key.key().data(), key.key().size());
  if (family == AF_INET) {
    auto& address = reinterpret_cast<sockaddr_in&>(wanted.tcpm_addr);
    address.sin_family = AF_INET;
    std::memcpy(&address.sin_addr, key.address().data(), sizeof address.sin_addr);
  } else {
    auto& address = reinterpret_cast<sockaddr_in6&>(wanted.tcpm_addr);
    address.sin6_family = AF_INET6;
    const bool mapped = key.address().size() == kAddressBytesV4;
    if (mapped) address.sin6_addr.s6_addr[10] = address.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(&address.sin6_addr.s6_addr[mapped ? 12 : 0], key.address().data(), key.address().size());
  }
  if (::setsockopt(socket, IPPROTO_TCP, TCP_MD5SIG_EXT, &wanted, sizeof wanted) != 0) return fail_errno("TCP_MD5SIG");
  return {};
}

}  // namespace godwit
