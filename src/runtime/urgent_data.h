// Urgent data (MSG_OOB; RFC 9293 3.8.5) that lies in the queue of a TCP connection. To CRIU 4.2 the queue ends at the
// mark (SIOCINQ): of the marked byte and of all that came after it nothing is in its image, though their numbers are.
// Here that is read on the source, and the image put right on the target, so that to the restored connection they have
// not come yet. Then network/urgent_delivery.h lets them come again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "sockets.pb.h"

namespace godwit {

// Of one connection: more than a receive queue holds (net.ipv4.tcp_rmem, 6 MiB, of which half is data).
inline constexpr size_t kUrgentBytesMax = size_t{16} << 20;

// Whether the queue of SOCKET, a connection, holds a mark. RECEIVED: what tcp_list.h says of it.
bool has_urgent_mark(int socket, uint32_t received);

// Why what has_urgent_mark() cannot be carried; empty if it can. Nothing is known of keys here (tcp_keys.h).
std::string urgent_obstacle(int socket);

// On the source, of a connection that CRIU has dumped: it is in repair mode (tcp(7)), and its process stands still.
// URGENT has its number of received bytes, and gets the rest. Changes nothing in the queue. False: there is nothing but
// a byte that the program has taken, and its mark cannot be carried; CRIU leaves both out.
Result<bool> peek_urgent_data(int socket, peer::UrgentData& urgent);

Result<> check_urgent_data(const peer::UrgentData& urgent);

// On the target, in CRIU's images in DIRECTORY before it reads them, and all that STATES say of urgent data: both come
// from a peer, and the latter has been checked.
Result<> end_images_at_marks(const std::filesystem::path& directory, const peer::SocketStates& states);

}  // namespace godwit
