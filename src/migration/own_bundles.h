// Bundles of containers that arrived and whose own bundle is not on this host: directories below the run directory with
// nothing but the config.json that came with them.
#pragma once

#include <filesystem>
#include <string>

#include "migration/host.h"

namespace godwit {

std::filesystem::path own_bundle_directory(const Host& host, const std::string& container);

// Removes those of containers that have ended here: whoever deletes a container does not know of them.
void remove_abandoned_bundles(const Host& host);

}  // namespace godwit
