#include "runtime/urgent_data.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <map>
#include <optional>
#include <utility>

#include "base/poll.h"
#include "criu_tcp.pb.h"
#include "runtime/connection_images.h"
#include "runtime/int_option.h"
#include "runtime/message_image.h"
#include "runtime/scoped_option.h"

namespace godwit {

namespace {

bool is_inline(int socket) { return int_option(socket, SOL_SOCKET, SO_OOBINLINE).value_or(0) != 0; }

// The program has not taken the marked byte.
bool is_waiting(int socket) { return is_ready(socket, POLLPRI); }

bool is_at_mark(int socket) {
  int at = 0;
  return ::ioctl(socket, SIOCATMARK, &at) == 0 && at != 0;
}

uint32_t before_mark(int socket) {
  int bytes = 0;
  return ::ioctl(socket, SIOCINQ, &bytes) == 0 && bytes > 0 ? static_cast<uint32_t>(bytes) : 0;
}

bool may_receive_more(int socket) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return false;
  return info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_FIN_WAIT1 || info.tcpi_state == TCP_FIN_WAIT2;
}

bool is_bound_to_a_link(int socket) {
  return int_option(socket, SOL_SOCKET, 62).value_or(0) != 0;  // SO_BINDTOIFINDEX
}

// From Linux 6.9 on.
bool can_peek_anywhere(int socket) { return int_option(socket, SOL_SOCKET, SO_PEEK_OFF).has_value(); }

// BYTES of the queue from its byte BEGIN on; a mark that is the first is passed over, unless the data is inline.
Result<std::string> peek(int socket, uint32_t begin, uint32_t bytes) {
  std::optional<ScopedOption> there;
  if (begin > 0) {
    TRY_ASSIGN(auto moved, ScopedOption::set(socket, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(begin)));
    there.emplace(std::move(moved));
  }
  std::string data(bytes, '\0');
  if (bytes > 0 && ::recv(socket, data.data(), bytes, MSG_PEEK | MSG_DONTWAIT) != static_cast<ssize_t>(bytes))
    return fail("what lies behind urgent data cannot be read");
  return data;
}

Result<std::string> peek_from_mark(int socket, uint32_t before, uint32_t bytes, bool in_line, bool waiting) {
  TRY_ASSIGN(const auto queue, ScopedOption::set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE));
  if (in_line) return peek(socket, before, bytes);
  char marked = 0;
  if (waiting && ::recv(socket, &marked, 1, MSG_OOB | MSG_PEEK) != 1) return fail_errno("reading urgent data");
  TRY_ASSIGN(const std::string behind, peek(socket, before == 0 ? 0 : before + 1, bytes - 1));
  return marked + behind;
}

// Of queues: net.ipv4.tcp_rmem and tcp_wmem can be a container's own.
constexpr size_t kImageBytesMax = size_t{1} << 30;

// As if BYTES, the last that came, had not come yet. IN_IMAGE: they are in QUEUES, of what was received and then what
// was sent, too.
Result<> take_back(uint32_t bytes, bool in_image, criu::TcpConnection& connection, std::string& queues) {
  if (in_image) {
    const uint32_t received = connection.received_bytes();
    if (bytes > received || received > queues.size()) return fail("the image has less than what was received");
    queues.erase(received - bytes, bytes);
    connection.set_received_bytes(received - bytes);
  }
  connection.set_received_next(connection.received_next() - bytes);
  const auto beyond = static_cast<int32_t>(connection.window_begin() - connection.received_next());
  if (beyond <= 0) return {};
  connection.set_window_begin(connection.received_next());
  connection.set_receive_window(connection.receive_window() + static_cast<uint32_t>(beyond));
  return {};
}

Result<> end_image_at_mark(const std::filesystem::path& path, const peer::UrgentData& urgent) {
  criu::TcpConnection connection;
  TRY_ASSIGN(MessageImage image, MessageImage::read(path, kImageBytesMax, connection));
  TRY(take_back(static_cast<uint32_t>(urgent.data().size()), urgent.in_image(), connection, image.data));
  return image.write(connection);
}

// HAS_MORE: than the marked byte, which every kernel shows wherever it lies.
std::string obstacle(int socket, bool has_more) {
  std::string why;
  if (is_bound_to_a_link(socket)) {
    why = "bound to a device (SO_BINDTODEVICE)";
  } else if (!may_receive_more(socket)) {
    why = "from a peer that has closed the connection";
  } else if (!is_at_mark(socket) && is_inline(socket)) {
    why = "inline (SO_OOBINLINE) and behind other data";
  } else if (!is_at_mark(socket) && has_more && !can_peek_anywhere(socket)) {
    why = "behind other data, on a kernel older than 6.9";
  }
  return why.empty() ? "" : "a TCP socket with urgent data that was not read, " + why;
}

uint32_t number_of(const peer::UrgentData& urgent) { return static_cast<uint32_t>(urgent.inode()); }

}  // namespace

bool has_urgent_mark(int socket, uint32_t received) {
  return received > 0 && (before_mark(socket) < received || (is_inline(socket) && is_waiting(socket)));
}

std::string urgent_obstacle(int socket) { return obstacle(socket, /*has_more=*/true); }

Result<bool> peek_urgent_data(int socket, peer::UrgentData& urgent) {
  const bool in_line = is_inline(socket), waiting = is_waiting(socket);
  const uint32_t before = in_line ? 0 : before_mark(socket);
  if (before >= urgent.received() || urgent.received() - before > kUrgentBytesMax)
    return fail("the queue of a TCP socket with urgent data has changed");
  const uint32_t bytes = urgent.received() - before;
  const std::string why = obstacle(socket, bytes > 1);
  if (!why.empty() && bytes == 1 && !waiting) return false;
  if (!why.empty()) return fail(why);
  TRY_ASSIGN(*urgent.mutable_data(), peek_from_mark(socket, before, bytes, in_line, waiting));
  urgent.set_taken(!waiting);
  urgent.set_in_image(in_line);
  return true;
}

Result<> check_urgent_data(const peer::UrgentData& urgent) {
  if (urgent.data().empty() || urgent.data().size() > kUrgentBytesMax) return fail("urgent data of an odd size");
  return {};
}

Result<> end_images_at_marks(const std::filesystem::path& directory, const peer::SocketStates& states) {
  std::map<uint32_t, const peer::UrgentData*> marked;
  for (const peer::SocketState& state : states.sockets())
    if (state.has_urgent()) marked[number_of(state.urgent())] = &state.urgent();
  if (marked.empty()) return {};
  TRY(unpack_connections(directory, [&](uint32_t number) { return marked.contains(number); }));
  for (const auto& [number, urgent] : marked)
    TRY_DOING("urgent data", end_image_at_mark(directory / connection_image_name(number), *urgent));
  return {};
}

}  // namespace godwit
