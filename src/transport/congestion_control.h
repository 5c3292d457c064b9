// What paces the data that leaves over a TCP connection.
#pragma once

#include <string>

#include "base/result.h"

namespace godwit {

// What is sent over SOCKET, a connection on which something has arrived, is paced by the kernel's congestion control
// NAME ("cubic", "bbr", …), whose module is loaded if need be. The empty name leaves the host's, but for BBR to a peer
// nearby: that is CUBIC. Error code ENOENT if the kernel has none of that name.
Result<> use_congestion_control(int socket, const std::string& name);

// Has the kernel one of that name? Errors as above.
Result<> check_congestion_control(const std::string& name);

}  // namespace godwit
