// Datagrams that wait in a UDP socket to be read. CRIU 4.2 leaves them behind.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "sockets.pb.h"

namespace godwit {

// Of a container; what is more is left behind.
inline constexpr size_t kUnreadBytesMax = size_t{32} << 20;
inline constexpr int kUnreadDatagramsMax = 65536;

struct UnreadBounds {
  size_t bytes_left = kUnreadBytesMax;
  int datagrams_left = kUnreadDatagramsMax;
};

// Appends to STATE what waits in SOCKET, and leaves it there. What it costs is taken from BOUNDS. False: some were too
// many.
Result<bool> peek_datagrams(int socket, UnreadBounds& bounds, peer::SocketState& state);

Result<> check_datagram(const peer::Datagram& datagram);

// On the target, until they have arrived once more.
class UnreadDatagrams {
 public:
  // Makes room for them in SOCKET, as much as it takes.
  UnreadDatagrams(ScopedFd socket, const peer::SocketState& state);
  UnreadDatagrams(UnreadDatagrams&&) noexcept = default;
  UnreadDatagrams& operator=(UnreadDatagrams&&) noexcept = default;
  ~UnreadDatagrams();  // the socket's room is what it was

  uint16_t port() const;
  // Those that have not come; after a little time, as long as it makes a difference.
  std::vector<const peer::Datagram*> missing() const;
  std::vector<const peer::Datagram*> await() const;

 private:
  ScopedFd socket_;
  google::protobuf::RepeatedPtrField<peer::Datagram> list_;
  int room_ = 0;   // SO_RCVBUF before
  int locks_ = 0;  // SO_BUF_LOCK before
};

}  // namespace godwit
