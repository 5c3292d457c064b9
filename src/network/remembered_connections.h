// TCP connections that only the kernel remembers: the program has closed them, and what is missing is the peer's FIN
// (FIN-WAIT-2), or time (TIME-WAIT). A kernel without that memory answers the peer with a reset.
//
// No interface tells their sequence numbers, which never change any more. But a segment that does not fit is answered
// by one that has them (RFC 9293 3.10.7.4), so the source's kernel is asked by such, while the container stands still
// and its ports are off the LAN: nobody else sees questions or answers. The target's kernel is given a connection with
// these numbers, which is led to the same state by segments of its own making, and closed.
//
// Left out: those over a macvlan on a kernel before 6.6, those of a container to itself, those with signed segments
// (TCP_MD5SIG).
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "network/frame_delivery.h"
#include "network/host_port.h"
#include "network/mac.h"
#include "network/recreate.h"
#include "peer.pb.h"

namespace godwit::network {

// What asking and making so many costs is some ms, most of it beside CRIU's work.
inline constexpr int kRememberedMax = 512;

// On the source. Opening and closing it takes the kernel some ms.
class RememberedReader {
 public:
  // PORTS are the container's. The calling thread is in the host's namespace. ID as in FrameSender::open().
  static Result<RememberedReader> open(const std::vector<HostPort>& ports, const std::string& id);

  struct Read {
    std::vector<peer::RememberedConnection> known;  // with their numbers
    size_t forgotten = 0;                           // did not answer, or were too many
  };
  // LIST: TcpWatch::remembered() of the container's namespace NETNS_FD, whose ports are off the LAN. NETWORK is the
  // container's. Waits for some ms if one does not answer. Once.
  Result<Read> read(int netns_fd, const std::vector<peer::RememberedConnection>& list,
                    const peer::NetworkState& network);

 private:
  using Ends = std::tuple<std::string, uint32_t, std::string, uint32_t>;  // local, remote
  struct Asked {
    peer::RememberedConnection connection;
    const HostEnd* by;
  };
  RememberedReader(std::vector<HostPort> ports, FrameSender frames);
  Result<> begin_to_listen(int netns_fd);
  const HostEnd* end_of(const std::string& local, const peer::NetworkState& network) const;
  Result<> ask(const Asked& asked, uint32_t sequence);
  Result<> ask_all(uint32_t sequence);
  void take_answers();
  void take_answer(std::string_view packet);
  void await_answers(Deadline deadline);

  std::vector<HostPort> ports_;
  std::vector<HostEnd> ends_;  // of the same order
  FrameSender frames_;
  ScopedFd answers_;  // a packet socket in the container's namespace
  MacAddress asker_;  // whom the questions come from
  std::map<Ends, Asked> unanswered_;
  std::vector<peer::RememberedConnection> known_;
};

// For the report: so many were not carried.
std::string note_of_forgotten(size_t connections);

// CONNECTION may come from a peer.
Result<> check_remembered(const peer::RememberedConnection& connection);

// CONNECTIONS, which have been checked, become connections of TARGET, which has its addresses and routes and is not yet
// attached. Returns how many could not be made: all where a LAN would hear of it.
Result<size_t> make_remembered(const RecreatedNamespace& target,
                               const std::vector<peer::RememberedConnection>& connections);

}  // namespace godwit::network
