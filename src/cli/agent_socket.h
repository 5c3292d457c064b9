// The agent's unix socket, as far as a plain connect(2) can tell why an agent cannot be spoken to.
#pragma once

#include <string>

#include "base/result.h"

namespace godwit::cli {

// Whether a process listens at PATH that this user may speak to; waits for nothing. The error says
// what to do about it and has the errno of connect(2), never 0.
Result<> probe_agent_socket(const std::string& path);

}  // namespace godwit::cli
