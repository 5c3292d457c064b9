#include "transport/data_connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <climits>
#include <vector>

#include "base/log.h"  // fmt
#include "transport/congestion_control.h"
#include "transport/socket.h"
#include "wire/preamble.h"

namespace godwit {

namespace {

// The payload of one TLS record (RFC 8446, 5.1).
constexpr size_t kRecordBytes = 16384;

Result<wire::HelloAck> exchange_hello(TlsConnection& tls, const std::string& hello, Deadline deadline) {
  TRY(tls.send(hello, deadline));
  char bytes[wire::kHelloAckBytes];
  TRY(tls.receive_exact(bytes, sizeof bytes, deadline));
  return wire::decode_hello_ack({bytes, sizeof bytes});
}

std::string version_text(uint16_t major, uint16_t minor) { return std::to_string(major) + "." + std::to_string(minor); }

Result<> check_ack(const TlsConnection& tls, const wire::Hello& hello, const wire::HelloAck& ack) {
  if (ack.version_major != hello.version_major)
    return fail("it speaks version " + version_text(ack.version_major, ack.version_minor) +
                " of the data protocol, this host " + version_text(hello.version_major, hello.version_minor));
  if (ack.refusal != wire::Refusal::kNone) return fail(Error("refused: " + wire::refusal_text(ack.refusal), EACCES));
  if (ack.plain && !hello.want_plain) return fail("it wants no encryption, this host does");
  if (ack.plain && !tls.nothing_buffered()) return fail("encrypted bytes after its last message");
  return {};
}

// Drops the first BYTES of what PARTS, from FIRST on, describe.
void advance(std::vector<iovec>& parts, size_t& first, size_t bytes) {
  while (first < parts.size() && bytes >= parts[first].iov_len) bytes -= parts[first++].iov_len;
  if (first == parts.size()) return;
  parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + bytes;
  parts[first].iov_len -= bytes;
}

}  // namespace

Result<std::unique_ptr<DataConnection>> DataConnection::connect(const TlsContext& context, const std::string& address,
                                                                const std::string& peer_name, const wire::Hello& hello,
                                                                Deadline deadline) {
  const std::string doing = "data connection to " + peer_name;
  TRY_ASSIGN(const std::string hello_bytes, wire::encode_hello(hello));
  TRY_ASSIGN(const std::string preamble, wire::encode_preamble(wire::preamble_of(hello)));
  auto tls = TlsConnection::connect(context, address, peer_name, deadline, preamble);
  if (!tls) return fail(std::move(tls.error()).during(doing));
  auto ack = exchange_hello(**tls, hello_bytes, deadline);
  if (!ack) return fail(std::move(ack.error()).during(doing));
  TRY_DOING(doing, check_ack(**tls, hello, *ack));
  wire::Hello agreed = hello;
  agreed.version_minor = std::min(hello.version_minor, ack->version_minor);
  return std::make_unique<DataConnection>(std::move(*tls), peer_name, std::move(agreed), ack->plain);
}

DataConnection::DataConnection(std::unique_ptr<TlsConnection> tls, std::string peer_name, wire::Hello hello, bool plain)
    : tls_(std::move(tls)), peer_name_(std::move(peer_name)), hello_(std::move(hello)), plain_(plain) {
  if (plain_) return;
  record_.reserve(kRecordBytes);
  tls_->gather_sends();
}

Result<> DataConnection::use_congestion_control(const std::string& name) const {
  return godwit::use_congestion_control(tls_->fd(), name);
}

Error DataConnection::link_error(Error error) const {
  if (error.code() == ETIMEDOUT)
    return Error(fmt::format("link to {} made no progress for {} s", peer_name_,
                             std::chrono::duration<double>(idle_limit_).count()),
                 ETIMEDOUT);
  return std::move(error).during("link to " + peer_name_);
}

// --- Sending -------------------------------------------------------------------------------------

Result<> DataConnection::send(std::span<const std::string_view> parts) {
  auto sent = plain_ ? send_plain(parts) : send_tls(parts);
  if (!sent) return fail(link_error(std::move(sent.error())));
  return {};
}

Result<> DataConnection::send_counted(std::string_view data) {
  while (!data.empty()) {
    TRY_ASSIGN(const size_t sent, tls_->send_some(data, Clock::now() + idle_limit_));
    bytes_sent_ += sent;
    data.remove_prefix(sent);
  }
  return {};
}

// Small parts are gathered into full records; what fills records by itself is encrypted where it
// lies.
Result<> DataConnection::send_tls(std::span<const std::string_view> parts) {
  record_.clear();
  for (std::string_view part : parts) {
    while (!part.empty()) {
      const bool direct = record_.empty() && part.size() >= kRecordBytes;
      const size_t room =
          direct ? part.size() - part.size() % kRecordBytes : std::min(part.size(), kRecordBytes - record_.size());
      if (direct) TRY(send_counted(part.substr(0, room)));
      if (!direct) record_.append(part.substr(0, room));
      part.remove_prefix(room);
      if (record_.size() < kRecordBytes) continue;
      TRY(send_counted(record_));
      record_.clear();
    }
  }
  TRY(send_counted(record_));
  return tls_->flush(Clock::now() + idle_limit_);
}

Result<> DataConnection::send_plain(std::span<const std::string_view> parts) {
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (std::string_view part : parts)
    if (!part.empty()) vectors.push_back({const_cast<char*>(part.data()), part.size()});
  for (size_t first = 0; first < vectors.size();) {
    if (tls_->cancelled()) return fail(Error("cancelled", ECANCELED));
    msghdr message{};
    message.msg_iov = &vectors[first];
    message.msg_iovlen = std::min<size_t>(vectors.size() - first, IOV_MAX);
    const ssize_t sent = ::sendmsg(tls_->fd(), &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes_sent_ += static_cast<size_t>(sent);
      advance(vectors, first, static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY(wait_ready(tls_->fd(), POLLOUT, Clock::now() + idle_limit_));
    } else if (errno != EINTR) {
      return fail(plain_error(errno));
    }
  }
  return {};
}

Result<> DataConnection::send_frame(wire::FrameHeader header, std::string_view payload) {
  if (payload.size() > wire::kFramePayloadMax) return fail("frame of " + std::to_string(payload.size()) + " bytes");
  header.length = static_cast<uint32_t>(payload.size());
  char bytes[wire::kFrameHeaderBytes];
  wire::encode_frame_header(header, bytes);
  return send({{bytes, sizeof bytes}, payload});
}

// --- Receiving -----------------------------------------------------------------------------------

Error DataConnection::plain_error(int code) const {
  if (tls_->cancelled()) return Error("cancelled", ECANCELED);
  return peer_error(peer_address(), code);
}

Result<size_t> DataConnection::receive_plain(void* buffer, size_t bytes) {
  for (;;) {
    if (tls_->cancelled()) return fail(Error("cancelled", ECANCELED));
    const ssize_t received = ::recv(tls_->fd(), buffer, bytes, 0);
    if (received > 0) return static_cast<size_t>(received);
    if (received == 0) return fail(plain_error(0));
    if (errno == EAGAIN) {
      TRY(wait_ready(tls_->fd(), POLLIN, Clock::now() + idle_limit_));
    } else if (errno != EINTR) {
      return fail(plain_error(errno));
    }
  }
}

Result<> DataConnection::receive_exact(void* buffer, size_t bytes) {
  for (size_t have = 0; have < bytes;) {
    char* to = static_cast<char*>(buffer) + have;
    auto received =
        plain_ ? receive_plain(to, bytes - have) : tls_->receive_some(to, bytes - have, Clock::now() + idle_limit_);
    if (!received) return fail(link_error(std::move(received.error())));
    have += *received;
    bytes_received_ += *received;
  }
  return {};
}

Result<wire::FrameHeader> DataConnection::receive_header() {
  char bytes[wire::kFrameHeaderBytes];
  TRY(receive_exact(bytes, sizeof bytes));
  auto header = wire::decode_frame_header({bytes, sizeof bytes});
  if (!header) return fail(link_error(std::move(header.error())));
  return header;
}

Result<wire::FrameHeader> DataConnection::receive_frame(std::string& payload) {
  TRY_ASSIGN(const wire::FrameHeader header, receive_header());
  payload.resize(header.length);
  TRY(receive_exact(payload.data(), payload.size()));
  return header;
}

}  // namespace godwit
