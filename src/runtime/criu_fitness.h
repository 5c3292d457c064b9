// Whether the CRIU of this host can be used on its running kernel.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

// An error says what is wrong with CRIU and what to do. Asks `criu check`, and knows combinations of CRIU and kernel
// which that passes although they fail on TCP sockets. About 100 ms the first time; remembered while the program
// file stays the same. (tools/criu-probe, at installation, dumps and restores a real process.)
Result<> check_criu(const std::filesystem::path& criu);

// The combinations known to fail; empty if this one is not. VERSION is "4.1.1", KERNEL "6.18.44-x".
std::string known_misfit(std::string_view version, std::string_view kernel);

}  // namespace godwit
