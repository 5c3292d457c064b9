// For tests: a target with a DataListener that hands every good connection to the test.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>

#include "transport/data_listener.h"
#include "transport/test_certificates.h"

namespace godwit {

inline wire::Hello test_hello(bool want_plain = false) {
  wire::Hello hello;
  hello.migration_id = "0123456789abcdef";
  hello.token = std::string(wire::kTokenBytes, 't');
  hello.want_plain = want_plain;
  return hello;
}

// node2, listening; node1 may connect with test_hello().
class TestTarget {
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<DataConnection>> queue_;

 public:
  explicit TestTarget(DataListenerOptions options = {}) {
    options.address = "127.0.0.1:0";
    if (options.allowed.empty()) options.allowed = {"node1"};
    listener = must(DataListener::start(certificates.context("node2"), options,
                                        [this](const wire::Hello& hello, const auto&) { return claim(hello); }));
  }

  Result<std::unique_ptr<DataConnection>> connect(const wire::Hello& hello, const TlsContext& context) {
    return DataConnection::connect(context, listener->address(), "node2", hello, in_ms(10'000));
  }
  Result<std::unique_ptr<DataConnection>> connect(const wire::Hello& hello = test_hello()) {
    return connect(hello, node1);
  }

  // The next connection handed over.
  std::unique_ptr<DataConnection> arrived() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, milliseconds(10'000), [this] { return !queue_.empty(); }))
      throw std::runtime_error("no connection arrived");
    auto connection = std::move(queue_.front());
    queue_.pop_front();
    return connection;
  }

  TestCertificates certificates;
  TlsContext node1 = certificates.context("node1");
  std::unique_ptr<DataListener> listener;  // last: stops before what its handlers use goes

 private:
  std::expected<DataHandler, wire::Refusal> claim(const wire::Hello& hello) {
    if (!equal_secret(hello.token, test_hello().token)) return std::unexpected(wire::Refusal::kUnknownMigration);
    return [this](std::unique_ptr<DataConnection> connection) {
      std::lock_guard lock(mutex_);
      queue_.push_back(std::move(connection));
      changed_.notify_all();
    };
  }
};

}  // namespace godwit
