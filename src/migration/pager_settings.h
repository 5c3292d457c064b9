// What a godwit-pager is started with, and what it takes connections by: of this host, the same for all migrations.
#pragma once

#include <filesystem>

#include "base/clock.h"
#include "transport/data_connection.h"
#include "transport/peer_timeouts.h"
#include "transport/tls.h"

namespace godwit {

struct PagerSettings {
  std::filesystem::path program;
  std::filesystem::path keeper;  // memory_keeper, the helper program
  TlsFiles tls;
  AllowedPeers peers;
  bool allow_plain = false;
  std::chrono::milliseconds idle_limit = kIdleLimitDefault;
  PeerTimeouts timeouts = {};
};

}  // namespace godwit
