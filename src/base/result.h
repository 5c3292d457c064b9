// Errors as values. Result<T> is what every operation that can fail in service returns; Error carries one fact
// per layer, newest first, and the errno captured at the point of failure.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace godwit {

class Error {
 public:
  explicit Error(std::string message, int code = 0) : text_(std::move(message)), code_(code) {}

  // The facts joined by ": ", outermost first; fit to show to a user.
  const std::string& text() const { return text_; }

  // errno of the failed system call, 0 if there was none.
  int code() const { return code_; }

  // Adds what was being attempted in front of what went wrong.
  Error&& during(std::string_view doing) && {
    text_ = std::string(doing) + ": " + text_;
    return std::move(*this);
  }

 private:
  std::string text_;
  int code_;
};

template <typename T = void>
using Result = std::expected<T, Error>;

// An Error as the return value of a function returning any Result<T>.
inline std::unexpected<Error> fail(std::string message) { return std::unexpected(Error(std::move(message))); }
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

// Same, with strerror(errno) appended. errno is read before anything else can change it.
std::unexpected<Error> fail_errno(std::string message);
std::unexpected<Error> fail_errno(std::string message, int code);

}  // namespace godwit

#define GODWIT_CONCAT_(a, b) a##b
#define GODWIT_CONCAT(a, b) GODWIT_CONCAT_(a, b)

// Returns the error of EXPR from the enclosing function, if it has one.
#define TRY(expr)                                                                                                  \
  do {                                                                                                             \
    if (auto godwit_result = (expr); !godwit_result) return ::std::unexpected(::std::move(godwit_result).error()); \
  } while (false)

// Declares VAR as the value of EXPR, or returns its error from the enclosing function.
#define TRY_ASSIGN(var, expr) TRY_ASSIGN_(GODWIT_CONCAT(godwit_result_, __LINE__), var, expr)
#define TRY_ASSIGN_(tmp, var, expr)                             \
  auto tmp = (expr);                                            \
  if (!tmp) return ::std::unexpected(::std::move(tmp).error()); \
  var = ::std::move(*tmp)

// As TRY, saying what was being attempted.
#define TRY_DOING(doing, expr)                                                                 \
  do {                                                                                         \
    if (auto godwit_result = (expr); !godwit_result)                                           \
      return ::std::unexpected(::std::move(::std::move(godwit_result).error()).during(doing)); \
  } while (false)
