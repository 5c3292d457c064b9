#include "network/address_message.h"

#include <linux/if_addr.h>
#include <sys/socket.h>

#include "network/address_text.h"

namespace godwit::network {
namespace {

// Set by users; the rest of IFA_F_* is the kernel's.
constexpr uint32_t kAddressFlags =
    IFA_F_HOMEADDRESS | IFA_F_DEPRECATED | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;
constexpr uint32_t kForever = 0xffffffff;

}  // namespace

Result<std::optional<peer::Address>> parse_address(const NetlinkMessage& message, const LinkNames& names) {
  auto header = message.header<ifaddrmsg>();
  auto attributes = message.attributes<ifaddrmsg>();
  if (message.type != RTM_NEWADDR || address_bytes(header.ifa_family) == 0) return std::nullopt;
  peer::Address address;
  TRY_ASSIGN(*address.mutable_link(), names.name(header.ifa_index));
  address.set_family(header.ifa_family);
  address.set_prefix(header.ifa_prefixlen);
  address.set_scope(header.ifa_scope);
  std::string_view local = attributes.bytes(IFA_LOCAL), other = attributes.bytes(IFA_ADDRESS);
  address.set_address(std::string(local.empty() ? other : local));
  if (!local.empty() && local != other) address.set_peer(std::string(other));
  address.set_broadcast(std::string(attributes.bytes(IFA_BROADCAST)));
  address.set_label(attributes.string(IFA_LABEL));
  address.set_flags(attributes.u32(IFA_FLAGS).value_or(header.ifa_flags) & kAddressFlags);
  address.set_metric(attributes.u32(IFA_RT_PRIORITY).value_or(0));
  return address;
}

Result<NetlinkRequest> address_request(bool remove, const peer::Address& address, const LinkNames& names) {
  ifaddrmsg header{};
  TRY_ASSIGN(header.ifa_index, names.index(address.link()));
  header.ifa_family = static_cast<uint8_t>(address.family());
  header.ifa_prefixlen = static_cast<uint8_t>(address.prefix());
  header.ifa_scope = static_cast<uint8_t>(address.scope());
  NetlinkRequest request(remove ? RTM_DELADDR : RTM_NEWADDR, remove ? 0 : NLM_F_CREATE | NLM_F_EXCL, header);
  request.add(IFA_LOCAL, address.address());
  request.add(IFA_ADDRESS, address.peer().empty() ? address.address() : address.peer());
  if (remove) return request;
  if (!address.broadcast().empty()) request.add(IFA_BROADCAST, address.broadcast());
  if (!address.label().empty()) request.add_string(IFA_LABEL, address.label());
  if (address.metric()) request.add_u32(IFA_RT_PRIORITY, address.metric());
  uint32_t flags = address.flags() & kAddressFlags;
  // It was checked for duplicates where it comes from, and a tentative address cannot be bound to.
  if (address.family() == AF_INET6) flags |= IFA_F_NODAD;
  request.add_u32(IFA_FLAGS, flags & ~uint32_t{IFA_F_DEPRECATED});
  if (flags & IFA_F_DEPRECATED) {
    ifa_cacheinfo lifetime{.ifa_prefered = 0, .ifa_valid = kForever, .cstamp = 0, .tstamp = 0};
    request.add(IFA_CACHEINFO, {reinterpret_cast<const char*>(&lifetime), sizeof(lifetime)});
  }
  return request;
}

std::string describe(const peer::Address& address) {
  return address_text(address.family(), address.address()) + "/" + std::to_string(address.prefix()) + " on " +
         address.link();
}

}  // namespace godwit::network
