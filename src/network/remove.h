// The end of a container's links on a host it has left.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace godwit::network {

// Deletes the link INDEX of the calling thread's namespace if it is still called NAME (indexes are
// used again); with a veth goes its other end. Fine if it is gone.
Result<> remove_link(uint32_t index, const std::string& name);

}  // namespace godwit::network
