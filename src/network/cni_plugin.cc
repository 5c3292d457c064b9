#include "network/cni_plugin.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "base/subprocess.h"

namespace godwit::network {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr auto kPluginEndsWithin = std::chrono::seconds(30);
constexpr size_t kConfigBytesMax = size_t{1} << 20;
constexpr size_t kNameBytesMax = 128;

Result<ScopedFd> input_of(const json& config) {
  ScopedFd fd(memfd_create("cni", MFD_CLOEXEC));
  if (!fd) return fail_errno("memfd_create");
  const std::string text = config.dump(-1, ' ', false, json::error_handler_t::replace);
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return fail_errno("memfd");
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return fail_errno("memfd");
  return fd;
}

json as_list(const json& config) {
  if (member(config, "plugins").is_array()) return config;
  json list = {{"name", member(config, "name")}, {"cniVersion", member(config, "cniVersion")}};
  list["plugins"] = json::array({config});
  return list;
}

}  // namespace

const json& member(const json& value, const std::string& key) {
  static const json kNull;
  if (!value.is_object()) return kNull;
  auto found = value.find(key);
  return found == value.end() ? kNull : *found;
}

std::string text_member(const json& value, const std::string& key) {
  const json& found = member(value, key);
  return found.is_string() ? found.get<std::string>() : "";
}

bool is_cni_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameBytesMax && std::isalnum(static_cast<unsigned char>(name[0])) &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

std::optional<json> find_cni_network(const fs::path& directory, const std::string& name) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory, error)) files.push_back(entry.path());
  std::ranges::sort(files);  // as libcni: the first that fits
  for (const fs::path& file : files) {
    const std::string extension = file.extension();
    if (extension != ".conflist" && extension != ".conf" && extension != ".json") continue;
    auto text = read_file(file, kConfigBytesMax);
    json config = text ? json::parse(*text, nullptr, false) : json();
    if (text_member(config, "name") == name) return as_list(config);
  }
  return std::nullopt;
}

Result<json> call_cni_plugin(const fs::path& bin_dir, const CniCall& call) {
  const std::string what = "CNI plugin " + call.plugin + ", " + call.command;
  if (!is_cni_name(call.plugin)) return fail("a CNI plugin's type is not valid");
  TRY_ASSIGN(const ScopedFd input, input_of(call.config));
  Command command{.argv = {bin_dir / call.plugin},
                  .environment = {{"CNI_COMMAND", call.command},
                                  {"CNI_CONTAINERID", call.container_id},
                                  {"CNI_NETNS", call.netns},
                                  {"CNI_IFNAME", call.interface},
                                  {"CNI_ARGS", call.arguments},
                                  {"CNI_PATH", bin_dir.string()}},
                  .stdin_fd = input.get(),
                  .kill_group = true};
  TRY_ASSIGN(const CommandOutput output, run_command(std::move(command), kPluginEndsWithin));
  json said = json::parse(output.out, nullptr, false);
  if (output.status == 0) return said;
  std::string why = text_member(said, "msg") + " " + text_member(said, "details");
  if (trimmed(why).empty()) why = "exit status " + std::to_string(output.status) + " " + output.errors.substr(0, 300);
  return fail(what + ": " + trimmed(why));
}

json plugin_config(const json& list, size_t number) {
  json config = member(list, "plugins")[number];
  if (!config.is_object()) config = json::object();
  config["name"] = text_member(list, "name");
  config["cniVersion"] = text_member(list, "cniVersion").empty() ? "0.4.0" : text_member(list, "cniVersion");
  return config;
}

}  // namespace godwit::network
