// Accepts data connections on the target. Strangers can reach this port: transport/data_handshakes.h.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "transport/data_handshakes.h"

namespace godwit {

class DataListener {
 public:
  static Result<std::unique_ptr<DataListener>> start(TlsContext context, DataListenerOptions options, DataClaim claim,
                                                     DataRoute route = nullptr);
  DataListener(const DataListener&) = delete;
  DataListener& operator=(const DataListener&) = delete;
  ~DataListener();  // as stop()

  // Stops listening, breaks off handshakes, joins all threads. Connections handed over are not
  // touched.
  void stop();

  // Where it listens, with the real port.
  const std::string& address() const { return address_; }
  DataListenerCounts counts() const { return handshakes_.counts(); }

 private:
  DataListener(TlsContext context, DataListenerOptions options, DataClaim claim, DataRoute route, ScopedFd socket,
               ScopedFd wake);
  void accept_loop();

  DataHandshakes handshakes_;
  ScopedFd socket_;
  ScopedFd wake_;  // eventfd: stop
  std::string address_;
  std::thread acceptor_;
};

}  // namespace godwit
