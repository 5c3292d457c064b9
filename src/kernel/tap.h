// A tap: a link whose frames a program reads and writes. It lives as long as its descriptor.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

struct Tap {
  ScopedFd fd;  // one frame per read(2), with its Ethernet header and nothing before it; non-blocking
  uint32_t index = 0;
};

// In the calling thread's network namespace; down. NAME must be free.
Result<Tap> make_tap(const std::string& name);

}  // namespace godwit
