// What CRIU cannot carry, as far as it can be seen from outside while the container runs. Said by the pre-flight,
// before anything is touched.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "peer.pb.h"

namespace godwit {

// Looks through the open files and state of PROCESSES. STREAMS are the container's standard streams.
std::vector<peer::Problem> find_obstacles(const std::vector<pid_t>& processes,
                                          const std::vector<peer::Stream>& streams);

// What a link of /proc/PID/fd says about a file that CRIU cannot carry; empty if it can (or only CRIU can tell).
std::string obstacle_in_link(const std::string& link);

}  // namespace godwit
