// Queueing disciplines of a namespace's links, and their classes. The kernel's own defaults, which have no handle, are
// not carried: the target's kernel makes them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "network/link_names.h"
#include "peer.pb.h"

namespace godwit::network {

inline constexpr int kQdiscsMax = 1024;
inline constexpr size_t kQdiscOptionBytesMax = 8192;

// Of SOCKET's namespace. An error names what cannot be carried: a filter, or a kind whose options the kernel does not
// report in the form in which it takes them.
Result<std::vector<peer::Qdisc>> read_qdiscs(RouteSocket& socket, const LinkNames& names);

// Makes SOCKET's namespace have exactly these, which have passed check_qdisc. Changes nothing if it has.
Result<> write_qdiscs(RouteSocket& socket, const LinkNames& names, const std::vector<peer::Qdisc>& wanted);

// QDISC may come from a peer.
Result<> check_qdisc(const peer::Qdisc& qdisc);

}  // namespace godwit::network
