// A TCP connection under mutually verified TLS 1.3.
//
// Operations block up to a deadline, over a non-blocking socket and poll(2), so cancel() from
// another thread ends them at once. One thread may send while another receives; two may not do the
// same.
//
// Errors carry a code: ETIMEDOUT (deadline), ECANCELED (after cancel()), ECONNRESET (the peer
// closed or reset), EHOSTUNREACH (a dead peer or link, PeerTimeouts::dead_after), EACCES (either
// side does not accept the other's certificate or name), else errno, or 0 for TLS failures. Text
// names the peer as "10.99.1.2:7411".
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "transport/tls_context.h"

struct ssl_st;

namespace godwit {

// Names a server accepts; a peer needs one of them among its SAN DNS names. Empty: nobody.
using AllowedPeers = std::set<std::string>;

// An error (EACCES) naming ADDRESS and NAMES if none of NAMES is allowed.
Result<> check_peer_allowed(const std::vector<std::string>& names, const AllowedPeers& allowed,
                            const std::string& address);

class TlsConnection {
 public:
  // ADDRESS is host:port. EXPECTED_NAME must be among the peer's SAN DNS names, compared exactly.
  // In TLS 1.3 a client is done before the server has judged its certificate: a refusal shows in
  // the first receive. OPENING is sent before TLS begins.
  static Result<std::unique_ptr<TlsConnection>> connect(const TlsContext& context, const std::string& address,
                                                        const std::string& expected_name, Deadline deadline,
                                                        std::string_view opening = {});

  // Server side, on an accepted SOCKET.
  static Result<std::unique_ptr<TlsConnection>> accept(const TlsContext& context, ScopedFd socket,
                                                       const AllowedPeers& allowed, Deadline deadline);

  // As accept, for any holder of a certificate of our CA: the caller must check peer_names() before
  // it trusts the peer with anything (it may want to send a reason first).
  static Result<std::unique_ptr<TlsConnection>> accept_any_name(const TlsContext& context, ScopedFd socket,
                                                                Deadline deadline);

  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;
  // Closes the socket without a TLS goodbye: protocols above say themselves when they are complete.
  ~TlsConnection();

  Result<> send(std::string_view data, Deadline deadline);
  Result<> receive_exact(void* buffer, size_t bytes, Deadline deadline);

  // From now on what is sent leaves with flush(), or before it; it is for many sends one after the other. Not for a
  // connection that goes on without TLS.
  void gather_sends();
  Result<> flush(Deadline deadline);

  // One step of each, at least one byte. An error with ECONNRESET if the peer has closed.
  Result<size_t> send_some(std::string_view data, Deadline deadline);
  Result<size_t> receive_some(void* buffer, size_t bytes, Deadline deadline);

  // From any thread, any number of times: running and later operations fail with ECANCELED.
  void cancel();
  bool cancelled() const { return cancelled_; }

  const std::vector<std::string>& peer_names() const { return peer_names_; }
  const std::string& peer_address() const { return peer_address_; }

  // The socket, for a protocol that goes on without TLS; owned by this object.
  int fd() const { return socket_.get(); }
  // No byte from the peer has been read off the socket and not yet returned.
  bool nothing_buffered() const;

 private:
  friend Result<> diagnose_tls(const TlsContext&, const std::string&, const std::string&, Deadline);
  friend struct BareTls;  // tests: one that has not shaken hands
  enum class Side { kClient, kServer };
  TlsConnection(const TlsContext& context, ScopedFd socket, std::string peer_address);

  static Result<std::unique_ptr<TlsConnection>> dial(const TlsContext& context, const std::string& address,
                                                     Deadline deadline);
  Result<> handshake(Side side, Deadline deadline);
  Result<> check_expected_name(const std::string& expected_name) const;
  // Repeats CALL, one OpenSSL operation returning 1 on success, until it succeeds, fails or
  // DEADLINE passes.
  template <typename Call>
  Result<> operate(Call call, Deadline deadline);
  Error error_of(int ssl_error, int saved_errno) const;

  TlsContext context_;
  ScopedFd socket_;
  std::unique_ptr<ssl_st, void (*)(ssl_st*)> ssl_;
  mutable std::mutex ssl_mutex_;  // held during OpenSSL calls, never while waiting
  std::atomic<bool> cancelled_ = false;
  std::string peer_address_;
  std::vector<std::string> peer_names_;
};

// Connects to any TLS port of a peer (also a gRPC one), only to say why a handshake with it fails.
// Success means that a handshake worked just now and that the peer did not refuse our certificate.
Result<> diagnose_tls(const TlsContext& context, const std::string& address, const std::string& expected_name,
                      Deadline deadline);

}  // namespace godwit
