// A socket option whose value is an int, and is another one for a while.
#pragma once

#include <sys/socket.h>

#include <utility>

#include "base/result.h"
#include "runtime/int_option.h"

namespace godwit {

// At its end the option is what it was. SOCKET is borrowed.
class ScopedOption {
 public:
  static Result<ScopedOption> set(int socket, int level, int name, int value) {
    const auto before = int_option(socket, level, name);
    if (!before || ::setsockopt(socket, level, name, &value, sizeof value) != 0) return fail_errno("setsockopt");
    return ScopedOption(socket, level, name, *before);
  }
  ScopedOption(ScopedOption&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), level_(other.level_), name_(other.name_), before_(other.before_) {}
  ScopedOption& operator=(ScopedOption&&) = delete;
  ~ScopedOption() {
    if (socket_ >= 0) (void)::setsockopt(socket_, level_, name_, &before_, sizeof before_);
  }

 private:
  ScopedOption(int socket, int level, int name, int before)
      : socket_(socket), level_(level), name_(name), before_(before) {}
  int socket_, level_, name_, before_;
};

}  // namespace godwit
