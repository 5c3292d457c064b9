#include "network/cni.h"

#include <arpa/inet.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "network/cni_plugin.h"

namespace godwit::network {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kCacheBytesMax = size_t{1} << 20;
constexpr size_t kCacheFilesMax = 65536;
constexpr size_t kAddressesPerAttachment = 16;
constexpr char kCacheKind[] = "cniCacheV1";

std::string file_name(const peer::CniAttachment& attachment) {
  return attachment.network() + "-" + attachment.container_id() + "-" + attachment.interface();
}

fs::path cache_file(const CniPaths& paths, const peer::CniAttachment& attachment) {
  return paths.cache_dir / "results" / file_name(attachment);
}

std::string decoded(const std::string& base64) {
  std::string text(base64.size() / 4 * 3 + 3, '\0');
  const int bytes =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(base64.data()), static_cast<int>(base64.size()));
  if (bytes < 0) return "";
  text.resize(static_cast<size_t>(bytes));
  // Padding counts as zeros.
  for (size_t i = base64.size(); i > 0 && base64[i - 1] == '=' && !text.empty(); --i) text.pop_back();
  return text;
}

std::string encoded(const std::string& text) {
  std::string base64((text.size() + 2) / 3 * 4 + 1, '\0');
  const int bytes = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()),
                                    reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  base64.resize(static_cast<size_t>(std::max(bytes, 0)));
  return base64;
}

bool same_path(const std::string& a, const std::string& b) {
  std::error_code error;
  return !a.empty() && (a == b || fs::equivalent(a, b, error));
}

// The attachment that a cached result describes, if its sandbox is NETNS_PATH.
std::optional<peer::CniAttachment> parse_cached(const json& cached, const std::string& netns_path) {
  peer::CniAttachment attachment;
  attachment.set_network(text_member(cached, "networkName"));
  attachment.set_container_id(text_member(cached, "containerId"));
  attachment.set_interface(text_member(cached, "ifName"));
  if (text_member(cached, "kind") != kCacheKind || !is_cni_name(attachment.network()) ||
      !is_cni_name(attachment.container_id()))
    return std::nullopt;
  const json& result = member(cached, "result");
  const json& interfaces = member(result, "interfaces");
  bool inside = false;
  for (const json& interface : interfaces) {
    if (!same_path(text_member(interface, "sandbox"), netns_path)) continue;
    if (text_member(interface, "name") != attachment.interface()) continue;
    inside = true;
    attachment.set_mac(text_member(interface, "mac"));
  }
  if (!inside) return std::nullopt;
  for (const json& address : member(result, "ips")) attachment.add_addresses(text_member(address, "address"));
  attachment.set_result(result.dump(-1, ' ', false, json::error_handler_t::replace));
  return attachment;
}

json read_cached(const fs::path& file) {
  auto text = read_file(file, kCacheBytesMax);
  return text ? json::parse(*text, nullptr, false) : json();
}

std::string arguments_of(const json& cached) {
  std::string arguments;
  for (const json& pair : member(cached, "cniArgs")) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) continue;
    arguments += (arguments.empty() ? "" : ";") + pair[0].get<std::string>() + "=" + pair[1].get<std::string>();
  }
  return arguments;
}

bool is_address(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  in6_addr parsed;
  const bool good =
      inet_pton(AF_INET, address.c_str(), &parsed) == 1 || inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
  return good && slash != std::string::npos && text.size() - slash <= 4 &&
         text.find_first_not_of("0123456789", slash + 1) == std::string::npos;
}

// From a peer.
Result<> check(const peer::CniAttachment& attachment) {
  if (!is_cni_name(attachment.network()) || !is_cni_name(attachment.container_id()) ||
      !is_cni_name(attachment.interface()) || attachment.interface().size() > 15)
    return fail("the source's CNI attachment has names that are not valid");
  if (attachment.addresses_size() > static_cast<int>(kAddressesPerAttachment) ||
      !std::ranges::all_of(attachment.addresses(), is_address))
    return fail("the source's CNI attachment has addresses that are not valid");
  return {};
}

}  // namespace

std::vector<peer::CniAttachment> find_cni_attachments(const CniPaths& paths, const std::string& netns_path) {
  std::vector<peer::CniAttachment> attachments;
  std::error_code error;
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(paths.cache_dir / "results", error)) {
    if (++files > kCacheFilesMax || attachments.size() >= static_cast<size_t>(kCniAttachmentsMax)) break;
    if (auto found = parse_cached(read_cached(entry.path()), netns_path)) attachments.push_back(std::move(*found));
  }
  return attachments;
}

Result<> release_cni(const CniPaths& paths, const peer::CniAttachment& attachment, const std::string& netns_path) {
  const fs::path file = cache_file(paths, attachment);
  const json cached = read_cached(file);
  const json list = json::parse(decoded(text_member(cached, "config")), nullptr, false);
  const json& plugins = member(list, "plugins");
  Result<> verdict;
  if (!plugins.is_array()) verdict = fail("no configuration in " + file.string());
  for (size_t i = plugins.is_array() ? plugins.size() : 0; i-- > 0;) {
    json config = plugin_config(list, i);
    config["prevResult"] = member(cached, "result");
    auto done = call_cni_plugin(paths.bin_dir, {.command = "DEL",
                                                .plugin = text_member(config, "type"),
                                                .config = config,
                                                .container_id = attachment.container_id(),
                                                .netns = netns_path,
                                                .interface = attachment.interface(),
                                                .arguments = arguments_of(cached)});
    if (!done) verdict = fail(std::move(done.error()).during("network " + attachment.network()));
  }
  std::error_code error;
  fs::remove(file, error);
  return verdict;
}

std::string cni_problem(const CniPaths& paths, const peer::CniAttachment& attachment) {
  if (auto good = check(attachment); !good) return good.error().text();
  const std::string network = "the CNI network '" + attachment.network() + "'";
  auto list = find_cni_network(paths.conf_dir, attachment.network());
  if (!list) return network + " of the container's " + attachment.interface() + " is not in " + paths.conf_dir.string();
  std::error_code error;
  if (fs::exists(cache_file(paths, attachment), error))
    return network + " has the attachment " + file_name(attachment) + " already, in " + paths.cache_dir.string();
  const json& plugins = member(*list, "plugins");
  if (plugins.empty() || plugins.size() > 32) return network + " has no plugins";
  const std::string main = text_member(plugins[0], "type");
  if (main != "bridge" && main != "macvlan")
    return network + " is of the type " + main + "; bridge and macvlan can be carried";
  if (member(plugins[0], "ipMasq") == true) return network + " has ipMasq, whose rules cannot be made by themselves";
  std::vector<std::string> needed = {text_member(member(plugins[0], "ipam"), "type")};
  for (size_t i = 1; i < plugins.size(); ++i) needed.push_back(text_member(plugins[i], "type"));
  for (const std::string& plugin : needed)
    if (!plugin.empty() && (!is_cni_name(plugin) || !fs::exists(paths.bin_dir / plugin, error)))
      return network + " needs the plugin " + plugin + ", which is not in " + paths.bin_dir.string();
  return "";
}

struct CniAllocation::State {
  CniPaths paths;
  peer::CniAttachment attachment;
  std::string netns;
  json list;
  json result;                 // of the plugins so far
  std::vector<json> called{};  // configurations of those whose ADD has been called; the first is IPAM's
  bool committed = false;

  CniCall call(const std::string& command, const json& config) const {
    const bool ipam = !called.empty() && &config == &called.front();
    return {.command = command,
            .plugin = ipam ? text_member(member(config, "ipam"), "type") : text_member(config, "type"),
            .config = config,
            .container_id = attachment.container_id(),
            .netns = netns,
            .interface = attachment.interface(),
            .arguments = ""};
  }

  Result<json> add(json config) {
    called.push_back(std::move(config));
    return call_cni_plugin(paths.bin_dir, call("ADD", called.back()));
  }

  // What ADD of the main plugin would have returned.
  void begin_result(const json& ipam) {
    result = {{"cniVersion", plugin_config(list, 0)["cniVersion"]},
              {"interfaces",
               json::array({{{"name", attachment.interface()}, {"mac", attachment.mac()}, {"sandbox", netns}}})}};
    result["ips"] = member(ipam, "ips").is_array() ? member(ipam, "ips") : json::array();
    for (json& address : result["ips"])
      if (address.is_object()) address["interface"] = 0;
    for (const char* key : {"routes", "dns"})
      if (!member(ipam, key).is_null()) result[key] = member(ipam, key);
  }

  Result<> check_addresses() const {
    for (const std::string& wanted : attachment.addresses()) {
      const bool there = std::ranges::any_of(
          member(result, "ips"), [&](const json& address) { return text_member(address, "address") == wanted; });
      if (!there) return fail("the IPAM plugin did not allocate " + wanted);
    }
    return {};
  }

  void give_back() {
    for (size_t i = called.size(); i-- > 0;) {
      json& config = called[i];
      if (!result.is_null()) config["prevResult"] = result;
      if (auto done = call_cni_plugin(paths.bin_dir, call("DEL", config)); !done) log::error("{}", done.error().text());
    }
    called.clear();
  }
};

CniAllocation::CniAllocation(std::unique_ptr<State> state) : state_(std::move(state)) {}
CniAllocation::CniAllocation(CniAllocation&&) noexcept = default;
CniAllocation::~CniAllocation() {
  if (state_ && !state_->committed) state_->give_back();
}

Result<CniAllocation> CniAllocation::add(const CniPaths& paths, const peer::CniAttachment& attachment,
                                         const std::string& netns_path) {
  if (std::string text = cni_problem(paths, attachment); !text.empty()) return fail(text);
  auto made = std::make_unique<State>();
  made->paths = paths;
  made->attachment = attachment;
  made->netns = netns_path;
  made->list = *find_cni_network(paths.conf_dir, attachment.network());
  CniAllocation allocation(std::move(made));  // from here on its destructor gives back
  State& state = *allocation.state_;
  state.called.reserve(member(state.list, "plugins").size());
  json ipam_config = plugin_config(state.list, 0);
  json ipam = json::object();
  if (!text_member(member(ipam_config, "ipam"), "type").empty()) {
    ipam_config["runtimeConfig"]["ips"] = json::array();
    for (const std::string& address : attachment.addresses()) ipam_config["runtimeConfig"]["ips"].push_back(address);
    TRY_ASSIGN(ipam, state.add(std::move(ipam_config)));
  } else {
    return fail("the CNI network '" + attachment.network() + "' has no IPAM plugin");
  }
  state.begin_result(ipam);
  TRY(state.check_addresses());
  for (size_t i = 1; i < member(state.list, "plugins").size(); ++i) {
    json config = plugin_config(state.list, i);
    config["prevResult"] = state.result;
    TRY_ASSIGN(json result, state.add(std::move(config)));
    if (result.is_object()) state.result = std::move(result);
  }
  return allocation;
}

Result<> CniAllocation::commit() {
  state_->committed = true;
  const json cached = {{"kind", kCacheKind},
                       {"containerId", state_->attachment.container_id()},
                       {"config", encoded(state_->list.dump(-1, ' ', false, json::error_handler_t::replace))},
                       {"ifName", state_->attachment.interface()},
                       {"networkName", state_->attachment.network()},
                       {"result", state_->result}};
  TRY(make_directories(state_->paths.cache_dir / "results"));
  return write_file(cache_file(state_->paths, state_->attachment),
                    cached.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace godwit::network
