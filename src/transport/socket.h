// TCP sockets as both kinds of TLS connections use them: non-blocking, waited for with poll(2) up
// to a deadline, with options that notice a dead peer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "transport/peer_timeouts.h"

namespace godwit {

struct HostPort {
  std::string host;
  std::string port;
};

// "10.99.1.1:7411", "[fd00::1]:7411", "node2:7411". Port 0 to 65535, in digits.
Result<HostPort> parse_host_port(std::string_view text);

// Connects, and prepares as below. Names are resolved (without the deadline's control); every address is tried until
// DEADLINE. Error code ETIMEDOUT, ECONNREFUSED…
Result<ScopedFd> connect_tcp(const std::string& address, Deadline deadline,
                             milliseconds dead_after = PeerTimeouts{}.dead_after);

Result<ScopedFd> listen_tcp(const std::string& address);

// Non-blocking, TCP_NODELAY, and it notices a peer that acknowledges nothing for DEAD_AFTER, kDeadAfterMin or more:
// TCP_USER_TIMEOUT for data in flight (RFC 5482; since Linux 5.11 also for a peer that keeps its window shut),
// keepalive probes for an idle link.
Result<> prepare_tcp(int socket, milliseconds dead_after = PeerTimeouts{}.dead_after);

// Of what was sent over a TCP connection: the shortest time until it was acknowledged, which Linux 4.9 and later know.
// Nothing if none was.
std::optional<std::chrono::microseconds> shortest_round_trip(int socket);
// Bytes that were sent and are not acknowledged yet. 0 as well if the kernel does not tell.
size_t unacknowledged_bytes(int socket);

// Numeric "10.99.1.1:7411" of either end; "?" if it has none.
std::string local_address(int socket);
std::string remote_address(int socket);

// What CODE, the errno of an operation on a connection, says about PEER; 0 is an end of stream.
// Codes: ECONNRESET for every way of closing, EHOSTUNREACH for a peer that counts as dead, else
// CODE.
Error peer_error(const std::string& peer, int code);

// All BYTES, on a non-blocking socket. Errors as peer_error()'s, ETIMEDOUT.
Result<> send_all(int socket, std::string_view bytes, Deadline deadline);
Result<> receive_all(int socket, void* buffer, size_t bytes, Deadline deadline);

// Waits for EVENTS (POLLIN, POLLOUT) or an error condition. Error ETIMEDOUT once DEADLINE has
// passed.
Result<> wait_ready(int fd, short events, Deadline deadline);

}  // namespace godwit
