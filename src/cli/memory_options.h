// The options of godwit migrate that say how memory travels.
#pragma once

#include <CLI/CLI.hpp>

#include "control.pb.h"

namespace godwit::cli {

// Each option, when given, sets its field of REQUEST, which outlives the parsing; one that is not given leaves the
// field at 0, the agent's default.
void add_memory_options(CLI::App& command, control::MigrateRequest& request);

}  // namespace godwit::cli
