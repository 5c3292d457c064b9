#include "cli/mode.h"

#include <array>
#include <utility>

namespace godwit::cli {

namespace {
constexpr std::array<std::pair<std::string_view, control::Mode>, 5> kModes = {{
    {"auto", control::AUTO},
    {"cold", control::COLD},
    {"precopy", control::PRECOPY},
    {"postcopy", control::POSTCOPY},
    {"hybrid", control::HYBRID},
}};
}  // namespace

std::vector<std::string> mode_names() {
  std::vector<std::string> names;
  for (const auto& [name, mode] : kModes) names.emplace_back(name);
  return names;
}

std::string_view mode_name(control::Mode mode) {
  for (const auto& [name, value] : kModes) {
    if (value == mode) return name;
  }
  return "unknown";
}

std::optional<control::Mode> mode_named(std::string_view name) {
  for (const auto& [known, mode] : kModes) {
    if (known == name) return mode;
  }
  return std::nullopt;
}

}  // namespace godwit::cli
