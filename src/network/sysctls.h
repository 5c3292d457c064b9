// The network sysctls of a namespace. /proc/sys/net shows those of the namespace that the *reading
// thread* is in, so these functions are called on a thread that has entered it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "peer.pb.h"

namespace godwit::network {

// All that are readable, writable, allowed (see validate.h) and have one line. About 10 ms.
Result<> read_sysctls(peer::NetworkState& state);

// Writes those whose value differs, WHILE_DOWN: without those that would make the kernel invent
// addresses when a link comes up, which the second call, when all addresses are there, adds. What
// cannot be set is added to NOTES.
Result<> write_sysctls(const peer::NetworkState& state, bool while_down, std::vector<std::string>& notes);

}  // namespace godwit::network
