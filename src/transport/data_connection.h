// A data connection: the bulk path of a migration, from source to target, beside the control
// connection.
//
// It opens with a plain preamble (wire/preamble.h), then under mutually verified TLS 1.3 (transport/tls.h) with Hello
// and HelloAck (wire/hello.h). If both hosts' configurations allow it, the same socket then goes on without TLS:
// tickets and read-ahead are off and the source is silent between Hello and HelloAck, so OpenSSL
// holds no byte that belongs to the plain part.
//
// Operations block. Each fails when the link makes no progress for the idle limit; a slow link is
// no error. One thread may send while another receives; cancel() may come from anywhere. After an
// error the connection is of no more use. Error codes as in tls.h; text starts with "link to
// node2".
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "transport/tls.h"
#include "wire/frame.h"
#include "wire/hello.h"

namespace godwit {

// Longer than a healthy host is ever silent while its peer waits for data, twice what TCP takes to
// notice a dead one (PeerTimeouts::dead_after).
inline constexpr milliseconds kIdleLimitDefault{20'000};

class DataConnection {
 public:
  // Source side. ADDRESS and PEER_NAME are the target's; HELLO.want_plain says what this host's
  // configuration allows. DEADLINE bounds everything up to the HelloAck.
  static Result<std::unique_ptr<DataConnection>> connect(const TlsContext& context, const std::string& address,
                                                         const std::string& peer_name, const wire::Hello& hello,
                                                         Deadline deadline);

  // Target side: DataHandshakes makes it, once HelloAck is sent.
  DataConnection(std::unique_ptr<TlsConnection> tls, std::string peer_name, wire::Hello hello, bool plain);

  // Sends the parts in order, as one stream of bytes, without copying them together where that
  // costs.
  Result<> send(std::span<const std::string_view> parts);
  Result<> send(std::initializer_list<std::string_view> parts) { return send(std::span(parts.begin(), parts.size())); }
  // HEADER.length is set from PAYLOAD, which is at most kFramePayloadMax.
  Result<> send_frame(wire::FrameHeader header, std::string_view payload = {});

  Result<> receive_exact(void* buffer, size_t bytes);
  // A header, checked, whose payload the caller then takes with receive_exact.
  Result<wire::FrameHeader> receive_header();
  // A header and its payload. PAYLOAD is resized to it; keep the string between calls.
  Result<wire::FrameHeader> receive_frame(std::string& payload);

  void cancel() { tls_->cancel(); }

  // How long an operation may go without moving a byte. Set before use, not while an operation
  // runs.
  void set_idle_limit(milliseconds limit) { idle_limit_ = limit; }

  // Of what is sent: transport/congestion_control.h.
  Result<> use_congestion_control(const std::string& name) const;

  bool plain() const { return plain_; }
  uint16_t channel() const { return hello_.channel; }
  // Its minor version is, on the source, the lower one of both hosts'.
  const wire::Hello& hello() const { return hello_; }
  const std::string& peer_name() const { return peer_name_; }
  int socket() const { return tls_->fd(); }  // to look at, not to read or write
  const std::string& peer_address() const { return tls_->peer_address(); }

  // Since HelloAck, TLS overhead not counted.
  uint64_t bytes_sent() const { return bytes_sent_; }
  uint64_t bytes_received() const { return bytes_received_; }

 private:
  Result<> send_tls(std::span<const std::string_view> parts);
  Result<> send_plain(std::span<const std::string_view> parts);
  Result<> send_counted(std::string_view data);
  Result<size_t> receive_plain(void* buffer, size_t bytes);
  Error plain_error(int code) const;
  Error link_error(Error error) const;

  std::unique_ptr<TlsConnection> tls_;  // also owns the socket when plain
  std::string peer_name_;
  wire::Hello hello_;
  bool plain_;
  milliseconds idle_limit_ = kIdleLimitDefault;
  std::string record_;  // a sender's buffer: small parts and the start of large ones, up to one TLS record
  std::atomic<uint64_t> bytes_sent_ = 0;
  std::atomic<uint64_t> bytes_received_ = 0;
};

}  // namespace godwit
