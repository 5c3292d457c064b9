// For tests: a data connection over a socket pair that has never shaken hands.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include "transport/data_connection.h"
#include "transport/test_certificates.h"

namespace godwit {

struct BareTls {
  static std::unique_ptr<TlsConnection> make(ScopedFd socket) {
    static TestCertificates certificates;
    static const TlsContext context = certificates.context("bare");
    return std::unique_ptr<TlsConnection>(new TlsConnection(context, std::move(socket), "test"));
  }
};

// What is written to the socket arrives at the connection as it is.
inline std::pair<ScopedFd, std::unique_ptr<DataConnection>> bare_connection(uint16_t channel) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    throw std::runtime_error("socketpair");
  wire::Hello hello;
  hello.channel = channel;
  return {ScopedFd(ends[0]),
          std::make_unique<DataConnection>(BareTls::make(ScopedFd(ends[1])), "test", std::move(hello), true)};
}

}  // namespace godwit
