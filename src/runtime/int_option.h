// A socket option whose value is an int.
#pragma once

#include <sys/socket.h>

#include <optional>

namespace godwit {

// None: SOCKET has no such option, or is no socket.
inline std::optional<int> int_option(int socket, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(socket, level, name, &value, &length) != 0) return std::nullopt;
  return value;
}

}  // namespace godwit
