// Telling the LAN where the container is now: ARP announcements (RFC 5227, request form) and
// unsolicited neighbour advertisements (RFC 4861 7.2.6) for all of its addresses, sent from its own
// links, so that every bridge and switch on the way learns the port and every neighbour the
// address.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "peer.pb.h"

namespace godwit::network {

class Announcer {
 public:
  // Prepares the frames and the socket; sends nothing. STATE's links must exist in the namespace.
  static Result<Announcer> open(int netns_fd, const peer::NetworkState& state);

  // One burst, a frame for each address, a few microseconds each. Repeat it as the RFCs advise (3
  // times, 1 to 2 seconds apart): the caller decides when. Any thread, one at a time.
  Result<> send();

  size_t frames() const { return frames_.size(); }

 private:
  struct Frame {
    int link_index;
    std::string bytes;
  };
  Announcer(ScopedFd socket, std::vector<Frame> frames) : socket_(std::move(socket)), frames_(std::move(frames)) {}
  ScopedFd socket_;
  std::vector<Frame> frames_;
};

// Announcer::open and one send().
Result<> announce(int netns_fd, const peer::NetworkState& state);

}  // namespace godwit::network
