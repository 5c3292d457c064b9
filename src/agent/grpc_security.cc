#include "agent/grpc_security.h"

#include <cstdlib>

#include "base/file.h"

namespace godwit {

void allow_only_tls13_in_grpc() { ::setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1); }

Result<TlsTexts> read_tls_files(const TlsFiles& files) {
  TlsTexts texts;
  TRY_ASSIGN(texts.ca, read_file(files.ca));
  TRY_ASSIGN(texts.certificate, read_file(files.cert));
  TRY_ASSIGN(texts.key, read_file(files.key));
  return texts;
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsTexts& texts) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = texts.ca;
  options.pem_private_key = texts.key;
  options.pem_cert_chain = texts.certificate;
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsTexts& texts) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = texts.ca;
  options.pem_key_cert_pairs = {{texts.key, texts.certificate}};
  return grpc::SslServerCredentials(options);
}

std::vector<std::string> peer_names(const grpc::ServerContextBase& context) {
  std::vector<std::string> names;
  for (const grpc::string_ref& name : context.auth_context()->FindPropertyValues("x509_subject_alternative_name"))
    names.emplace_back(name.data(), name.size());
  return names;
}

}  // namespace godwit
