// Telling the LAN where the container is now: ARP announcements (RFC 5227, request form) and
// unsolicited neighbour advertisements (RFC 4861 7.2.6) for all of its addresses, sent from its own
// links, so that every bridge and switch on the way learns the port and every neighbour the
// address.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "peer.pb.h"

namespace godwit::network {

// RFC 5227 1.1: ANNOUNCE_NUM 2, ANNOUNCE_INTERVAL 2 s: ARP at 0 and 2 seconds. RFC 4861 7.2.6 and 10:
// MAX_NEIGHBOR_ADVERTISEMENT 3, at least RetransTimer, 1 s, apart: advertisements at 0, 1 and 2 seconds.
inline constexpr int kAnnouncementRepeats = 2;

class Announcer {
 public:
  // Prepares the frames and the socket; sends nothing. STATE's links must exist in the namespace.
  static Result<Announcer> open(int netns_fd, const peer::NetworkState& state);

  // The first burst: a frame for each address, a few microseconds each. Any thread, one at a time.
  Result<> send();

  // What is to be sent NUMBER seconds after it, 1 to kAnnouncementRepeats.
  Result<> repeat(int number);

  // Of the namespace; no other one has had it or will, while inode numbers are used again at once. 0: before
  // Linux 5.14.
  uint64_t netns_cookie() const;

  size_t frames() const { return frames_.size(); }

 private:
  struct Frame {
    int link_index;
    std::string bytes;
    bool advertisement;  // of IPv6; otherwise an ARP announcement
  };
  Result<> send_if(bool (*chosen)(const Frame&));
  Announcer(ScopedFd socket, std::vector<Frame> frames) : socket_(std::move(socket)), frames_(std::move(frames)) {}
  ScopedFd socket_;
  std::vector<Frame> frames_;
};

// Announcer::open and one send().
Result<> announce(int netns_fd, const peer::NetworkState& state);

// The same with what the namespace has now: of a container that goes on where it was, and that the LAN may have learned
// to be elsewhere.
Result<> announce_again(int netns_fd);

}  // namespace godwit::network
