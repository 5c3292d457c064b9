// Names of migration modes, as users write them and reports show them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control.pb.h"

namespace godwit::cli {

std::vector<std::string> mode_names();
// "auto" for AUTO; "unknown" for a mode of a later version.
std::string_view mode_name(control::Mode mode);
std::optional<control::Mode> mode_named(std::string_view name);

}  // namespace godwit::cli
