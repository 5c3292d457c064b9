#include "base/result.h"

#include <cstring>

namespace godwit {

std::unexpected<Error> fail_errno(std::string message) { return fail_errno(std::move(message), errno); }

std::unexpected<Error> fail_errno(std::string message, int code) {
  char buffer[128];
  message += ": ";
  message += strerror_r(code, buffer, sizeof buffer);
  return std::unexpected(Error(std::move(message), code));
}

}  // namespace godwit
