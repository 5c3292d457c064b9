// Logging to standard error (journald or the lab's log file reads it). Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

namespace godwit::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

// Call once at start. LEVEL is one of debug, info, warn, error; anything else is info.
void init(std::string_view program, std::string_view level);

}  // namespace godwit::log
