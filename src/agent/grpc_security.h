// The TLS of control connections, in gRPC's terms: the same certificates and names as data connections have.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "transport/peer_timeouts.h"
#include "transport/tls_context.h"

namespace godwit {

// gRPC offers no choice of TLS version. Its cipher list concerns TLS 1.2 only (TLS 1.3 has its own), so a list of
// ciphers that need a pre-shared key, which nobody has, leaves 1.3 alone. Call before anything of gRPC is used.
void allow_only_tls13_in_grpc();

struct TlsTexts {
  std::string ca, certificate, key;  // PEM
};
Result<TlsTexts> read_tls_files(const TlsFiles& files);

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsTexts& texts);
std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsTexts& texts);

// SAN names of the peer's certificate.
std::vector<std::string> peer_names(const grpc::ServerContextBase& context);

// Of a control connection: a ping each half of the time after which a silent peer is taken for dead (as on data
// connections), and the other half to answer it.
inline int keepalive_ms(const PeerTimeouts& timeouts) { return static_cast<int>(timeouts.dead_after.count() / 2); }

}  // namespace godwit
