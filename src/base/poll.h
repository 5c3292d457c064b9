// Whether something can be done with a descriptor at this moment.
#pragma once

#include <poll.h>

namespace godwit {

// EVENTS as poll(2) takes them; any of them.
inline bool is_ready(int fd, short events) {
  pollfd asked{.fd = fd, .events = events, .revents = 0};
  return ::poll(&asked, 1, 0) > 0 && (asked.revents & events) != 0;
}

}  // namespace godwit
