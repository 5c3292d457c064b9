// A migration's report as a person reads it.
#pragma once

#include <string>

#include "control.pb.h"

namespace godwit::cli {

// Several lines: what became of the container and where it is now; what it took, round by round;
// what went wrong, with CRIU's lines.
std::string report_text(const control::Report& report);

// Where report.state() is empty: what the outcome alone says.
std::string state_text(const control::Report& report);

}  // namespace godwit::cli
