// How data connections begin on the target: preamble, handshake, Hello, and a claim by whoever waits for it.
//
// Until a connection is authenticated and claimed it costs one of a bounded number of threads for a bounded time and a
// few kB; whatever it sends, it is closed and counted, nothing else.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "transport/data_connection.h"
#include "transport/tls.h"
#include "wire/hello.h"
#include "wire/preamble.h"

namespace godwit {

// Compares in a time that does not depend on where A and B differ (their lengths are not secret).
bool equal_secret(std::string_view a, std::string_view b);

// Takes a connection over. Called on a handshake thread after HelloAck is sent; must hand over and
// return, and must not call DataHandshakes::stop.
using DataHandler = std::function<void(std::unique_ptr<DataConnection>)>;

// Decides whom a Hello belongs to; PEER_NAMES are the SAN DNS names of the (authenticated, allowed)
// peer. Called from several threads at once. The owner compares migration and token, with
// equal_secret, and checks that the peer is the source of that migration.
using DataClaim = std::function<std::expected<DataHandler, wire::Refusal>(const wire::Hello& hello,
                                                                          const std::vector<std::string>& peer_names)>;

// Takes SOCKET, on which nothing but PREAMBLE has been read, to another process. False: SOCKET is untouched, and the
// handshake is done here. What PREAMBLE says may be a stranger's invention. Called from several threads at once.
using DataRoute = std::function<bool(const wire::Preamble& preamble, ScopedFd& socket)>;

struct DataListenerOptions {
  std::string address{};     // DataListener's: host:port to listen at; port 0 picks a free one
  AllowedPeers allowed{};    // the configuration's [peers]
  bool allow_plain = false;  // this host's data_encryption = false
  int handshakes_max = 32;   // at once; more than any burst of migrations opens in the time of one
  milliseconds handshake_limit = PeerTimeouts{}.handshake;  // preamble, TLS and Hello
  milliseconds slot_wait{500};                  // how long a connection waits for a handshake slot; then it is closed
  milliseconds idle_limit = kIdleLimitDefault;  // of the connections made
};

// Connections seen since the start, by fate.
struct DataListenerCounts {
  uint64_t accepted = 0;  // by TCP
  uint64_t claimed = 0;   // handed to an owner
  uint64_t routed = 0;    // to another process
  uint64_t rejected = 0;  // bad handshake, garbage, time-out, name not allowed, version
  uint64_t refused = 0;   // proper, but nobody claimed it
  uint64_t overflow = 0;  // closed for want of a slot
};

class DataHandshakes {
 public:
  // Without ROUTE all handshakes are done here.
  DataHandshakes(TlsContext context, DataListenerOptions options, DataClaim claim, DataRoute route = nullptr);
  DataHandshakes(const DataHandshakes&) = delete;
  DataHandshakes& operator=(const DataHandshakes&) = delete;
  ~DataHandshakes();  // as stop()

  // On an accepted socket. PREAMBLE: it has been read already, and is not looked for another process any more.
  // Not after, nor during, stop().
  void begin(ScopedFd socket, std::optional<wire::Preamble> preamble = std::nullopt);
  // Breaks off handshakes, joins all threads. Connections handed over are not touched. refuse_more() may come before,
  // from another thread than that which calls begin().
  void stop();
  void refuse_more();
  DataListenerCounts counts() const;

 private:
  struct Handshake;
  bool wait_for_slot();
  void run(Handshake& handshake);
  Result<> serve(Handshake& handshake);
  Result<bool> read_preamble(Handshake& handshake, Deadline deadline);
  std::expected<DataHandler, wire::Refusal> judge(const wire::Hello& hello, const TlsConnection& tls);
  bool hand_over(Handshake& handshake);
  void join_finished();
  void count(uint64_t DataListenerCounts::* field);

  TlsContext context_;
  DataListenerOptions options_;
  DataClaim claim_;
  DataRoute route_;

  mutable std::mutex mutex_;
  std::condition_variable slot_free_;
  bool stopping_ = false;
  int running_ = 0;
  std::list<std::unique_ptr<Handshake>> handshakes_;
  DataListenerCounts counts_;
};

}  // namespace godwit
