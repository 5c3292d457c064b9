#include "runtime/tcp_keys.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace godwit {

namespace {

constexpr size_t kAddressBytesV4 = 4, kAddressBytesV6 = 16;

}  // namespace

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
