#include "network/namespace_state.h"

#include <linux/xfrm.h>

#include "network/conntrack.h"
#include "network/nftables.h"
#include "network/qdiscs.h"

namespace godwit::network {
namespace {

template <typename Entry>
std::vector<Entry> to_vector(const google::protobuf::RepeatedPtrField<Entry>& entries) {
  return {entries.begin(), entries.end()};
}

// IPsec has keys and sequence numbers that nobody may use twice.
Result<> refuse_ipsec() {
  auto socket = RouteSocket::open_family(NETLINK_XFRM);
  if (!socket) return {};  // a kernel without it
  size_t found = 0;
  auto count = [&](const NetlinkMessage&) { ++found; };
  (void)socket->dump(NetlinkRequest(XFRM_MSG_GETSA, 0, xfrm_usersa_id{}), count, [] {});
  (void)socket->dump(NetlinkRequest(XFRM_MSG_GETPOLICY, 0, xfrm_userpolicy_id{}), count, [] {});
  if (found) return fail("the namespace has IPsec associations or policies, which cannot be carried");
  return {};
}

}  // namespace

Result<> read_namespace_state(RouteSocket& socket, const LinkNames& names, peer::NetworkState& state) {
  TRY(refuse_ipsec());
  TRY_ASSIGN(auto qdiscs, read_qdiscs(socket, names));
  TRY_ASSIGN(*state.mutable_nftables(), read_nftables());
  state.mutable_qdiscs()->Assign(qdiscs.begin(), qdiscs.end());
  auto netfilter = RouteSocket::open_family(NETLINK_NETFILTER);
  if (!netfilter) return {};  // a kernel without it
  TRY_ASSIGN(auto conntrack, read_conntrack(*netfilter));
  state.mutable_conntrack()->Assign(conntrack.begin(), conntrack.end());
  return {};
}

Result<> write_namespace_state(RouteSocket& socket, const LinkNames& names, const peer::NetworkState& state,
                               std::vector<std::string>& notes) {
  TRY_DOING("queueing disciplines", write_qdiscs(socket, names, to_vector(state.qdiscs())));
  TRY_DOING("nftables", write_nftables(state.nftables()));
  auto netfilter = RouteSocket::open_family(NETLINK_NETFILTER);
  if (!netfilter && state.conntrack().empty()) return {};
  if (!netfilter) return fail(std::move(netfilter.error()).during("conntrack"));
  TRY_ASSIGN(const size_t refused, write_conntrack(*netfilter, to_vector(state.conntrack())));
  if (refused) notes.push_back(std::to_string(refused) + " conntrack entries were refused by the kernel");
  return {};
}

}  // namespace godwit::network
