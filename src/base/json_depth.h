// How deeply JSON from elsewhere is nested. nlohmann's parser takes any depth, but copying, writing and walking what it
// made takes a piece of the stack for each level.
#pragma once

#include <string_view>

namespace godwit {

// Whether TEXT is JSON whose arrays and objects are nested at most DEPTH_MAX deep; without either, 0. Takes time and
// memory that grow with TEXT's length only.
bool is_json_within(std::string_view text, int depth_max);

}  // namespace godwit
