// For tests: certificates of a small cluster in a directory that goes away, and a listening socket.
#pragma once

// g++ 12 takes the destructor of a std::expected<std::unique_ptr> returned by a std::function for a
// mistake.
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/test_support.h"
#include "transport/pki.h"
#include "transport/socket.h"
#include "transport/tls_context.h"

namespace godwit {

// A CA called "ca"; hosts are made on demand.
class TestCertificates {
 public:
  TestCertificates() { must(make_ca(directory_ / "ca")); }

  TlsFiles files(const std::string& name, int days = 30, const std::string& ca = "ca") {
    const std::filesystem::path out = directory_ / (name + "." + std::to_string(days) + "." + ca);
    if (!std::filesystem::exists(directory_ / ca)) must(make_ca(directory_ / ca));
    must(make_host_certificate({name, {"127.0.0.1", "::1"}, days}, directory_ / ca, out));
    return {out / "ca.crt", out / "host.crt", out / "host.key"};
  }

  TlsContext context(const std::string& name, int days = 30, const std::string& ca = "ca") {
    return must(TlsContext::load(files(name, days, ca), OwnExpired::kAccept));
  }

  const ScopedDirectory& directory() const { return directory_; }

 private:
  ScopedDirectory directory_;
};

// What WORK returns, computed on a thread of its own. (std::future makes g++ 12 warn about
// std::expected.)
template <typename T>
class Background {
 public:
  explicit Background(std::function<T()> work) : thread_([this, work = std::move(work)] { value_.emplace(work()); }) {}
  ~Background() { wait(); }
  void wait() {
    if (thread_.joinable()) thread_.join();
  }
  T get() {
    wait();
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  std::thread thread_;
};

// A loopback port that accepts one connection at a time.
class TestPort {
 public:
  const std::string& address() const { return address_; }
  ScopedFd accept() {
    must(wait_ready(socket_.get(), POLLIN, in_ms(5000)));
    return ScopedFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

 private:
  ScopedFd socket_ = must(listen_tcp("127.0.0.1:0"));
  std::string address_ = local_address(socket_.get());
};

}  // namespace godwit
