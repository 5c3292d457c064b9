#include "transport/tls_context.h"

#include <fcntl.h>

#include "base/file.h"
#include "transport/openssl.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

using ContextPtr = std::shared_ptr<SSL_CTX>;

// OpenSSL's own errors for files it cannot open do not name them.
Result<> check_readable(std::string_view what, const fs::path& path) {
  auto fd = open_file(path, O_RDONLY);
  if (!fd) return fail(std::move(fd.error()).during(what));
  return {};
}

Result<ContextPtr> make_context() {
  ContextPtr context(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  if (!context) return fail("TLS: " + openssl_error());
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION);
  // AES-128 first: both are beyond attack, and 128 costs less where memory moves at link speed.
  if (SSL_CTX_set_ciphersuites(raw,
                               "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                               "TLS_CHACHA20_POLY1305_SHA256") != 1)
    return fail("TLS cipher suites: " + openssl_error());
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  // Data connections may leave TLS: nothing may be read beyond a record. Turning it on where TLS
  // stays gained nothing: what it saves in system calls OpenSSL spends on moving what it has read.
  SSL_CTX_set_read_ahead(raw, 0);
  SSL_CTX_set_mode(raw, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(raw, 1);
  // A key with a passphrase is refused: there is nobody to ask.
  SSL_CTX_set_default_passwd_cb(raw, [](char*, int, int, void*) { return 0; });
  return context;
}

std::string time_text(const ASN1_TIME* time) {
  BioPtr memory(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(memory.get(), time);
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

Result<> check_validity(const X509* certificate, const fs::path& path) {
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(end) < 0) return fail(path.string() + ": the certificate expired on " + time_text(end));
  if (X509_cmp_current_time(begin) > 0)
    return fail(path.string() + ": the certificate is not valid before " + time_text(begin));
  return {};
}

Result<> load_files(SSL_CTX* context, const TlsFiles& files) {
  TRY(check_readable("CA certificate", files.ca));
  TRY(check_readable("certificate", files.cert));
  TRY(check_readable("key", files.key));
  if (SSL_CTX_load_verify_file(context, files.ca.c_str()) != 1)
    return fail("CA certificate " + files.ca.string() + ": " + openssl_error());
  if (SSL_CTX_use_certificate_chain_file(context, files.cert.c_str()) != 1)
    return fail("certificate " + files.cert.string() + ": " + openssl_error());
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) == 1 &&
      SSL_CTX_check_private_key(context) == 1)
    return {};
  const unsigned long code = ERR_peek_error();
  ERR_get_error();
  if (ERR_GET_LIB(code) == ERR_LIB_X509)
    return fail("key " + files.key.string() + " does not belong to certificate " + files.cert.string());
  return fail("key " + files.key.string() + " is not a usable PEM key");
}

}  // namespace

Result<TlsContext> TlsContext::load(const TlsFiles& files, OwnExpired expired, milliseconds dead_after) {
  ERR_clear_error();
  TRY_ASSIGN(ContextPtr context, make_context());
  auto loaded = load_files(context.get(), files);
  ERR_clear_error();
  TRY(std::move(loaded));
  const X509* own = SSL_CTX_get0_certificate(context.get());
  if (expired == OwnExpired::kRefuse) TRY(check_validity(own, files.cert));
  std::vector<std::string> names = dns_names(own);
  if (names.empty()) return fail(files.cert.string() + ": the certificate has no SAN DNS name");
  return TlsContext(files, std::move(context), std::move(names), dead_after);
}

Result<> TlsContext::check_own() const {
  X509* own = SSL_CTX_get0_certificate(context_.get());
  TRY(check_validity(own, files_.cert));
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context_.get(), &chain);
  StoreContextPtr verification(X509_STORE_CTX_new());
  if (!verification || X509_STORE_CTX_init(verification.get(), SSL_CTX_get_cert_store(context_.get()), own, chain) != 1)
    return fail("TLS: " + openssl_error());
  const bool good = X509_verify_cert(verification.get()) == 1;
  const int reason = X509_STORE_CTX_get_error(verification.get());
  ERR_clear_error();
  if (good) return {};
  if (reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY)
    return fail(files_.cert.string() + " is not signed by the CA in " + files_.ca.string());
  return fail(files_.cert.string() + ": " + X509_verify_cert_error_string(reason));
}

}  // namespace godwit
