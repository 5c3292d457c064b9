// TCP connections of a network namespace that no process has yet, or any more, and which CRIU therefore does not carry:
// being established, waiting to be accepted, left to the kernel to be closed, or only remembered by it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "kernel/rtnetlink.h"
#include "peer.pb.h"

namespace godwit::network {

struct TcpMoment {
  uint64_t half_open = 0;   // their last acknowledgement is on its way
  uint64_t unaccepted = 0;  // by the program
  uint64_t closing = 0;     // closed by the program, with something still to be acknowledged
  bool quiet() const { return half_open == 0 && unaccepted == 0 && closing == 0; }
};

class TcpWatch {
 public:
  static Result<TcpWatch> open(int netns_fd);
  // Some 0.3 ms: the kernel keeps the connections of all namespaces in one table.
  Result<TcpMoment> look();
  // Those that the program has closed and nothing of which is missing but the peer's FIN (FIN-WAIT-2), or time
  // (TIME-WAIT): the former first, then the latest. The kernel does not tell their sequence numbers here.
  Result<std::vector<peer::RememberedConnection>> remembered();

 private:
  explicit TcpWatch(RouteSocket socket) : socket_(std::move(socket)) {}
  RouteSocket socket_;
};

}  // namespace godwit::network
