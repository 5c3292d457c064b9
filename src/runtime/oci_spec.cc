#include "runtime/oci_spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_depth.h"

namespace godwit {

namespace {

using nlohmann::json;

bool is_bind(const json& mount) {
  if (mount.value("type", "") == "bind") return true;
  for (const json& option : mount.value("options", json::array()))
    if (option == "bind" || option == "rbind") return true;
  return false;
}

void read_namespaces(const json& linux_part, OciSpec& spec) {
  for (const json& entry : linux_part.value("namespaces", json::array())) {
    if (entry.value("type", "") == "cgroup") spec.own_cgroupns = true;
    if (entry.value("type", "") == "user") {
      spec.own_userns = true;
      spec.other_userns = !entry.value("path", "").empty();
    }
    if (entry.value("type", "") != "network") continue;
    const std::string path = entry.value("path", "");
    if (path.empty()) {
      spec.own_netns = true;
    } else {
      spec.netns_path = path;
    }
  }
}

OciSpec read_spec(const json& config, const std::filesystem::path& bundle) {
  OciSpec spec;
  spec.rootfs = bundle / config.at("root").at("path").get<std::string>();
  if (auto process = config.find("process"); process != config.end()) spec.terminal = process->value("terminal", false);
  for (const json& mount : config.value("mounts", json::array())) {
    if (is_bind(mount)) spec.bind_mounts.push_back({mount.value("source", ""), mount.value("destination", "")});
  }
  if (auto linux_part = config.find("linux"); linux_part != config.end()) {
    read_namespaces(*linux_part, spec);
    const auto limit = linux_part->value("/resources/memory/limit"_json_pointer, int64_t{0});
    spec.memory_limit_bytes = static_cast<uint64_t>(std::max<int64_t>(limit, 0));
  }
  return spec;
}

bool is_below_tmp(const std::filesystem::path& path) {
  std::error_code error;
  auto real = std::filesystem::weakly_canonical(path, error);
  const std::string text = (error ? path : real).string();
  return text == "/tmp" || text.starts_with("/tmp/");
}

}  // namespace

bool can_do_without_tmp(const OciSpec& spec, const std::filesystem::path& bundle) {
  return !is_below_tmp(bundle) && !is_below_tmp(spec.rootfs) &&
         std::ranges::none_of(spec.bind_mounts, [](const BindMount& mount) { return is_below_tmp(mount.source); });
}

Result<OciSpec> parse_oci_spec(std::string_view config_json, const std::filesystem::path& bundle) {
  if (config_json.size() > kOciSpecBytesMax) return fail("config.json is longer than 1 MiB");
  try {
    const json config = json::parse(config_json);
    if (!is_json_within(config_json, kOciSpecDepthMax)) return fail("config.json is nested too deeply");
    OciSpec spec = read_spec(config, bundle);
    if (!spec.rootfs.is_absolute()) return fail("config.json: the root path is not absolute");
    return spec;
  } catch (const json::exception& error) {
    return fail(std::string("config.json: ") + error.what());
  }
}

}  // namespace godwit
