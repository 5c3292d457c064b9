// What a target has taken for a container that does not run there yet, written into the migration's directory on the
// run directory's tmpfs: if the agent is killed, the next one gives it back. CRIU and runC end by themselves when the
// agent does (runtime/criu_bridge.h).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/runc.h"

namespace godwit {

struct TargetRecord {
  std::string container;
  std::filesystem::path netns;
  std::filesystem::path bundle;  // empty if it is not ours
};

Result<> write_target_record(const std::filesystem::path& directory, const TargetRecord& record);

// Before the commit takes effect: from then on all of it belongs to the container.
Result<> remove_target_record(const std::filesystem::path& directory);

bool has_target_record(const std::filesystem::path& directory);

// The container a record in DIRECTORY is about; none if there is no record that can be read.
std::optional<std::string> recorded_container(const std::filesystem::path& directory);

// Gives back what a record in DIRECTORY lists, if there is one. Fine if some of it is gone.
Result<> give_back_recorded(const std::filesystem::path& directory, const RuncPaths& runc);

}  // namespace godwit
