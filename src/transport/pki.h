// Makes the certificates that agents know each other by: one CA per cluster, one certificate per
// host.
//
// Keys are EC P-256. A host's certificate carries its node name as a SAN DNS name, which is what
// peers check, and its addresses as SAN IPs; it is good for both ends of a connection (clientAuth
// and serverAuth). Files are PEM, replaced atomically; keys have mode 0600.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace godwit {

// Ten years: a CA is replaced on every host at once, so seldom.
inline constexpr int kCaDaysDefault = 3650;
// A bit over a year, to be renewed yearly.
inline constexpr int kHostDaysDefault = 400;
inline constexpr int kCertificateDaysMax = 36500;

enum class Overwrite { kRefuse, kForce };

// Writes DIR/ca.crt and DIR/ca.key, making DIR if need be. An error if a ca.key is there already,
// unless forced: every certificate made with the old one would stop working. DAYS may be zero or
// negative: the certificate has then expired so many days ago (for tests; a command line should ask
// for at least 1).
Result<> make_ca(const std::filesystem::path& dir, int days = kCaDaysDefault, Overwrite overwrite = Overwrite::kRefuse);

struct HostCertificate {
  std::string name;                    // the node's, as in its configuration
  std::vector<std::string> addresses;  // numeric IPv4 or IPv6, without prefix length; may be empty
  int days = kHostDaysDefault;         // as for make_ca
};

// Writes OUT_DIR/host.crt, OUT_DIR/host.key and a copy of the CA's certificate, OUT_DIR/ca.crt
// (what a configuration's [tls] names), signed with CA_DIR/ca.key. Earlier ones are replaced: that
// is how to renew.
Result<> make_host_certificate(const HostCertificate& host, const std::filesystem::path& ca_dir,
                               const std::filesystem::path& out_dir);

}  // namespace godwit
