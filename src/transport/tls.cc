#include "transport/tls.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "transport/openssl.h"
#include "transport/socket.h"
#include "transport/socket_bio.h"

namespace godwit {

namespace {

// How long a server that has refused a peer goes on reading, so that closing does not reset the
// connection and with it the alert that says why. A proper peer closes as soon as it has the alert.
constexpr milliseconds kLingerAfterRefusal{250};

void linger(int socket) {
  const Deadline deadline = Clock::now() + kLingerAfterRefusal;
  ::shutdown(socket, SHUT_WR);
  char ignored[4096];
  while (wait_ready(socket, POLLIN, deadline)) {
    const ssize_t got = ::recv(socket, ignored, sizeof ignored, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
    if (Clock::now() >= deadline) return;
  }
}

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? "nothing" : text;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// TLS alerts with which a peer says that it does not want our certificate (RFC 8446, 6.2).
bool is_certificate_alert(int alert) {
  return (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) || alert == SSL_AD_UNKNOWN_CA ||
         alert == SSL_AD_ACCESS_DENIED || alert == SSL_AD_CERTIFICATE_REQUIRED;
}

std::string verify_text(long result) {
  if (result == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || result == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
      result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
    return "it was not signed by our CA";
  return X509_verify_cert_error_string(result);
}

// CODE is the oldest in OpenSSL's queue.
Error protocol_error(const std::string& peer, unsigned long code, long verify_result) {
  const int reason = ERR_GET_REASON(code);
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return peer_error(peer, 0);
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
    return Error("certificate of " + peer + " is not acceptable: " + verify_text(verify_result), EACCES);
  const int alert = reason - SSL_AD_REASON_OFFSET;
  if (alert > 0 && is_certificate_alert(alert))
    return Error(peer + " does not accept our certificate: " + SSL_alert_desc_string_long(alert), EACCES);
  if (alert == SSL_AD_PROTOCOL_VERSION || reason == SSL_R_UNSUPPORTED_PROTOCOL)
    return Error(peer + " does not offer TLS 1.3");
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) return Error(peer + " does not speak TLS");
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) return Error(peer + " has no certificate", EACCES);
  const char* text = ERR_reason_error_string(code);
  return Error(peer + ": TLS: " + (text != nullptr ? text : "unknown error"));
}

}  // namespace

Result<> check_peer_allowed(const std::vector<std::string>& names, const AllowedPeers& allowed,
                            const std::string& address) {
  for (const std::string& name : names)
    if (allowed.contains(name)) return {};
  return fail(Error("peer " + address + " is named " + quoted(names) + ", which is not allowed here", EACCES));
}

TlsConnection::TlsConnection(const TlsContext& context, ScopedFd socket, std::string peer_address)
    : context_(context),
      socket_(std::move(socket)),
      ssl_(SSL_new(context_.get()), SSL_free),
      peer_address_(std::move(peer_address)) {}

TlsConnection::~TlsConnection() = default;

Result<std::unique_ptr<TlsConnection>> TlsConnection::dial(const TlsContext& context, const std::string& address,
                                                           Deadline deadline) {
  TRY_ASSIGN(ScopedFd socket, connect_tcp(address, deadline, context.dead_after()));
  return std::unique_ptr<TlsConnection>(new TlsConnection(context, std::move(socket), address));
}

Result<std::unique_ptr<TlsConnection>> TlsConnection::connect(const TlsContext& context, const std::string& address,
                                                              const std::string& expected_name, Deadline deadline,
                                                              std::string_view opening) {
  TRY_ASSIGN(auto connection, dial(context, address, deadline));
  TRY(send_all(connection->fd(), opening, deadline));
  TRY(connection->handshake(Side::kClient, deadline));
  TRY(connection->check_expected_name(expected_name));
  return connection;
}

Result<std::unique_ptr<TlsConnection>> TlsConnection::accept_any_name(const TlsContext& context, ScopedFd socket,
                                                                      Deadline deadline) {
  TRY(prepare_tcp(socket.get(), context.dead_after()));
  std::string address = remote_address(socket.get());
  std::unique_ptr<TlsConnection> connection(new TlsConnection(context, std::move(socket), std::move(address)));
  if (auto shaken = connection->handshake(Side::kServer, deadline); !shaken) {
    linger(connection->fd());
    return fail(std::move(shaken.error()));
  }
  return connection;
}

Result<std::unique_ptr<TlsConnection>> TlsConnection::accept(const TlsContext& context, ScopedFd socket,
                                                             const AllowedPeers& allowed, Deadline deadline) {
  TRY_ASSIGN(auto connection, accept_any_name(context, std::move(socket), deadline));
  TRY(check_peer_allowed(connection->peer_names(), allowed, connection->peer_address()));
  return connection;
}

Result<> TlsConnection::handshake(Side side, Deadline deadline) {
  BioPtr bio = make_socket_bio(socket_.get());
  if (!ssl_ || !bio) return fail("TLS: " + openssl_error());
  SSL* ssl = ssl_.get();
  BIO* both = bio.release();
  SSL_set_bio(ssl, both, both);  // takes the one reference, as both are the same
  side == Side::kClient ? SSL_set_connect_state(ssl) : SSL_set_accept_state(ssl);
  TRY(operate([](SSL* s) { return SSL_do_handshake(s); }, deadline));
  peer_names_ = dns_names(SSL_get0_peer_certificate(ssl));
  return {};
}

Result<> TlsConnection::check_expected_name(const std::string& expected_name) const {
  if (contains(peer_names_, expected_name)) return {};
  return fail(
      Error("peer " + peer_address_ + " is named " + quoted(peer_names_) + ", not '" + expected_name + "'", EACCES));
}

// The queue of OpenSSL errors belongs to the thread, so this follows the failed call in the same
// thread.
Error TlsConnection::error_of(int ssl_error, int saved_errno) const {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (cancelled_) return Error(peer_address_ + ": cancelled", ECANCELED);
  if (ssl_error == SSL_ERROR_SSL) return protocol_error(peer_address_, code, SSL_get_verify_result(ssl_.get()));
  return peer_error(peer_address_, ssl_error == SSL_ERROR_SYSCALL ? saved_errno : 0);
}

template <typename Call>
Result<> TlsConnection::operate(Call call, Deadline deadline) {
  for (;;) {
    int ssl_error;
    {
      std::lock_guard lock(ssl_mutex_);
      if (cancelled_) return fail(error_of(SSL_ERROR_SYSCALL, 0));
      ERR_clear_error();
      errno = 0;
      const int result = call(ssl_.get());
      if (result == 1) return {};
      const int saved_errno = errno;
      ssl_error = SSL_get_error(ssl_.get(), result);
      if (ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_WANT_WRITE)
        return fail(error_of(ssl_error, saved_errno));
    }
    auto ready = wait_ready(socket_.get(), ssl_error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
    if (!ready) return fail(std::move(ready.error()).during(peer_address_));
  }
}

Result<size_t> TlsConnection::send_some(std::string_view data, Deadline deadline) {
  size_t sent = 0;
  TRY(operate([&](SSL* ssl) { return SSL_write_ex(ssl, data.data(), data.size(), &sent); }, deadline));
  return sent;
}

void TlsConnection::gather_sends() {
  std::lock_guard lock(ssl_mutex_);
  gather_writes(SSL_get_wbio(ssl_.get()));
}

Result<> TlsConnection::flush(Deadline deadline) {
  for (;;) {
    {
      std::lock_guard lock(ssl_mutex_);
      if (cancelled_) return fail(error_of(SSL_ERROR_SYSCALL, 0));
      errno = 0;
      BIO* bio = SSL_get_wbio(ssl_.get());
      if (BIO_flush(bio) == 1) return {};
      if (const int code = errno; !BIO_should_retry(bio)) return fail(error_of(SSL_ERROR_SYSCALL, code));
    }
    auto ready = wait_ready(socket_.get(), POLLOUT, deadline);
    if (!ready) return fail(std::move(ready.error()).during(peer_address_));
  }
}

Result<size_t> TlsConnection::receive_some(void* buffer, size_t bytes, Deadline deadline) {
  size_t received = 0;
  TRY(operate([&](SSL* ssl) { return SSL_read_ex(ssl, buffer, bytes, &received); }, deadline));
  return received;
}

Result<> TlsConnection::send(std::string_view data, Deadline deadline) {
  while (!data.empty()) {
    TRY_ASSIGN(const size_t sent, send_some(data, deadline));
    data.remove_prefix(sent);
  }
  return {};
}

Result<> TlsConnection::receive_exact(void* buffer, size_t bytes, Deadline deadline) {
  for (size_t have = 0; have < bytes;) {
    TRY_ASSIGN(const size_t received, receive_some(static_cast<char*>(buffer) + have, bytes - have, deadline));
    have += received;
  }
  return {};
}

void TlsConnection::cancel() {
  cancelled_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);  // wakes poll(2) in both directions
}

bool TlsConnection::nothing_buffered() const {
  std::lock_guard lock(ssl_mutex_);
  return SSL_has_pending(ssl_.get()) == 0;
}

Result<> diagnose_tls(const TlsContext& context, const std::string& address, const std::string& expected_name,
                      Deadline deadline) {
  TRY_ASSIGN(auto connection, TlsConnection::dial(context, address, deadline));
  // gRPC servers drop clients that do not offer HTTP/2.
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  if (SSL_set_alpn_protos(connection->ssl_.get(), kHttp2, sizeof kHttp2) != 0) return fail("TLS: " + openssl_error());
  TRY(connection->handshake(TlsConnection::Side::kClient, deadline));
  TRY(connection->check_expected_name(expected_name));
  // The peer judges our certificate after our side is done. A gRPC server then speaks first; a
  // silent one had no objection if none comes within a second; one that closes had, though its
  // library may not say so.
  char byte;
  auto answer = connection->receive_some(&byte, 1, std::min(deadline, Clock::now() + milliseconds(1000)));
  if (answer || answer.error().code() == ETIMEDOUT) return {};
  if (answer.error().code() == ECONNRESET) return fail(Error(address + " does not accept our certificate", EACCES));
  return fail(std::move(answer.error()));
}

}  // namespace godwit
