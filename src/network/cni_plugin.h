// Configurations of CNI networks, and calls of their plugins.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace godwit::network {

// For JSON that nobody has checked: the member, or null, whatever VALUE is.
const nlohmann::json& member(const nlohmann::json& value, const std::string& key);
std::string text_member(const nlohmann::json& value, const std::string& key);  // "" if it is no text

// What CNI allows in names of networks and containers.
bool is_cni_name(const std::string& name);

// The configuration list of the network NAME in DIRECTORY; a single configuration becomes a list of one. Empty: there
// is none.
std::optional<nlohmann::json> find_cni_network(const std::filesystem::path& directory, const std::string& name);

// One call of a plugin.
struct CniCall {
  std::string command;  // ADD, DEL
  std::string plugin;   // its type
  nlohmann::json config;
  std::string container_id;
  std::string netns;
  std::string interface;
  std::string arguments;  // CNI_ARGS
};

// What the plugin printed. An error quotes what it says is wrong. At most 30 seconds.
Result<nlohmann::json> call_cni_plugin(const std::filesystem::path& bin_dir, const CniCall& call);

// The configuration of the plugin NUMBER of LIST, as plugins get it.
nlohmann::json plugin_config(const nlohmann::json& list, size_t number);

}  // namespace godwit::network
