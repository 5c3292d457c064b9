// The certificates and settings of every TLS connection of this host: TLS 1.3 only, both ends
// verified against the cluster's CA, no session tickets, no resumption, no read-ahead.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "transport/peer_timeouts.h"

struct ssl_ctx_st;

namespace godwit {

struct TlsFiles {
  std::filesystem::path ca;
  std::filesystem::path cert;
  std::filesystem::path key;
};

// Whether to load a certificate of our own that no peer will accept. Only tests and diagnosis want
// it.
enum class OwnExpired { kRefuse, kAccept };

// Copies share one SSL_CTX; safe to use from any number of threads.
class TlsContext {
 public:
  // Errors name the file: missing, unreadable, not PEM, expired or not yet valid, key of another
  // certificate.
  static Result<TlsContext> load(const TlsFiles& files, OwnExpired expired = OwnExpired::kRefuse,
                                 milliseconds dead_after = PeerTimeouts{}.dead_after);

  // SAN DNS names of our own certificate; an agent checks that its node name is among them.
  const std::vector<std::string>& own_names() const { return own_names_; }

  // Why no peer will accept our own certificate, as of now: expired, or not signed by our CA. Says
  // what a peer that closes the connection does not.
  Result<> check_own() const;

  // PeerTimeouts::dead_after of the connections made with it.
  milliseconds dead_after() const { return dead_after_; }

  ssl_ctx_st* get() const { return context_.get(); }

 private:
  TlsContext(TlsFiles files, std::shared_ptr<ssl_ctx_st> context, std::vector<std::string> own_names,
             milliseconds dead_after)
      : files_(std::move(files)),
        context_(std::move(context)),
        own_names_(std::move(own_names)),
        dead_after_(dead_after) {}
  TlsFiles files_;
  std::shared_ptr<ssl_ctx_st> context_;
  std::vector<std::string> own_names_;
  milliseconds dead_after_;
};

}  // namespace godwit
