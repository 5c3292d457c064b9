#include "agent/config.h"

#include <functional>
#include <optional>
#include <set>
#include <variant>

#include "base/file.h"
#include "base/identifier.h"
#include "transport/socket.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace godwit {

namespace {

using Text = std::string;
using Check = std::function<Result<>(const Text&)>;

constexpr int64_t kMiB = int64_t{1} << 20;

// --- Checks --------------------------------------------------------------------------------------

Result<> absolute_path(const Text& value) {
  if (!value.starts_with('/')) return fail("must be an absolute path");
  if (value.find('\0') != Text::npos) return fail("has a NUL character");
  return {};
}

Result<> absolute_path_or_empty(const Text& value) { return value.empty() ? Result<>{} : absolute_path(value); }

Result<> unix_socket_path(const Text& value) {
  TRY(absolute_path(value));
  if (value.size() > 107) return fail("is longer than the 107 bytes of a unix socket's path");
  return {};
}

Result<> node_name(const Text& value) { return check_name("the name", value); }

Result<> address(const Text& value) {
  TRY_ASSIGN(const HostPort parsed, parse_host_port(value));
  if (parsed.port == "0") return fail("needs a port from 1 to 65535");
  return {};
}

Result<> log_level(const Text& value) {
  for (const char* level : {"debug", "info", "warn", "error"})
    if (value == level) return {};
  return fail("must be debug, info, warn or error");
}

Result<> tracking_method(const Text& value) {
  for (const char* method : {"auto", "uffd-wp", "soft-dirty", "none"})
    if (value == method) return {};
  return fail("must be auto, uffd-wp, soft-dirty or none");
}

// IFNAMSIZ with its NUL is 16; the kernel's other rules are its own to check.
Result<> link_name_or_empty(const Text& value) {
  if (value.size() > 15 || value.find_first_of("/ \t\n:") != Text::npos)
    return fail("is not the name of a network link");
  return {};
}

Result<> link_name(const Text& value) {
  if (value.empty()) return fail("must not be empty");
  return link_name_or_empty(value);
}

// TCP_CA_NAME_MAX with its NUL is 16; what the kernel has is looked up when the agent starts.
Result<> congestion_control_or_empty(const Text& value) {
  if (value.size() > 15 || value.find('\0') != Text::npos) return fail("is not the name of a congestion control");
  return {};
}

Result<> any_text(const Text&) { return {}; }

// --- The table -----------------------------------------------------------------------------------

struct TextRule {
  std::function<void(Config&, Text)> set;
  Check check;
  std::optional<Text> default_value;  // none: required
};
struct BooleanRule {
  std::function<void(Config&, bool)> set;
  bool default_value;
};
struct IntegerRule {
  std::function<void(Config&, int64_t)> set;
  int64_t default_value;
  int64_t min, max;
};

struct Rule {
  std::string_view section;  // empty: top level
  std::string_view key;
  std::variant<TextRule, BooleanRule, IntegerRule> kind;

  std::string name() const {
    return section.empty() ? std::string(key) : std::string(section) + "." + std::string(key);
  }
};

// FIELD is an expression on c, the Config.
#define GODWIT_TEXT(field, check, ...)                                            \
  TextRule {                                                                      \
    [](Config& c, Text value) { c.field = std::move(value); }, check, __VA_ARGS__ \
  }
#define GODWIT_BOOLEAN(field, value)                      \
  BooleanRule {                                           \
    [](Config& c, bool given) { c.field = given; }, value \
  }
#define GODWIT_INTEGER(field, value, min, max)                                                         \
  IntegerRule {                                                                                        \
    [](Config& c, int64_t given) { c.field = static_cast<decltype(c.field)>(given); }, value, min, max \
  }

// FIELD is one of PeerTimeouts, which has its default; at most an hour.
#define GODWIT_PEER_TIMEOUT(field, min)                                                    \
  IntegerRule{[](Config& c, int64_t s) { c.limits.peer.field = std::chrono::seconds(s); }, \
              std::chrono::duration_cast<std::chrono::seconds>(PeerTimeouts{}.field).count(), min, 3600}

// In the order of godwit.toml(5). Reasons for defaults:
// - hold: 64 MiB is what a 10 Gbit/s link delivers in 50 ms; 65536 packets the same in 1 kB
// packets.
// - step timeout: CRIU needs seconds for thousands of processes, never a minute.
// - hook timeout: what a call to a controller may take; a client may be waiting for it.
// - cni: where Debian's packages put them.
// - idle timeout: twice what TCP takes to notice a dead peer.
// - waits for a peer: transport/peer_timeouts.h.
const std::vector<Rule>& rules() {
  static const std::vector<Rule> table = {
      {"", "node", GODWIT_TEXT(node, node_name, std::nullopt)},
      {"agent", "socket", GODWIT_TEXT(agent.socket, unix_socket_path, "/run/godwit/godwitd.sock")},
      {"agent", "group", GODWIT_TEXT(agent.group, any_text, "godwit")},
      {"agent", "listen", GODWIT_TEXT(agent.listen, address, std::nullopt)},
      {"agent", "data_listen", GODWIT_TEXT(agent.data_listen, address, std::nullopt)},
      {"agent", "data_encryption", GODWIT_BOOLEAN(agent.data_encryption, true)},
      {"agent", "data_congestion_control", GODWIT_TEXT(agent.data_congestion_control, congestion_control_or_empty, "")},
      {"agent", "run_dir", GODWIT_TEXT(agent.run_dir, absolute_path, "/run/godwit")},
      {"agent", "log_level", GODWIT_TEXT(agent.log_level, log_level, "info")},
      {"tls", "ca", GODWIT_TEXT(tls.ca, absolute_path, "/etc/godwit/tls/ca.crt")},
      {"tls", "cert", GODWIT_TEXT(tls.cert, absolute_path, "/etc/godwit/tls/host.crt")},
      {"tls", "key", GODWIT_TEXT(tls.key, absolute_path, "/etc/godwit/tls/host.key")},
      {"network", "bridge", GODWIT_TEXT(network.bridge, link_name_or_empty, "")},
      {"network", "hold_bytes_max", GODWIT_INTEGER(network.hold_bytes_max, 64 * kMiB, 0, 16384 * kMiB)},
      {"network", "hold_packets_max", GODWIT_INTEGER(network.hold_packets_max, 65536, 0, int64_t{1} << 24)},
      {"hooks", "attached", GODWIT_TEXT(hooks.attached, absolute_path_or_empty, "")},
      {"hooks", "detached", GODWIT_TEXT(hooks.detached, absolute_path_or_empty, "")},
      {"hooks", "rolled_back", GODWIT_TEXT(hooks.rolled_back, absolute_path_or_empty, "")},
      {"hooks", "timeout_s",
       IntegerRule{[](Config& c, int64_t s) { c.hooks.timeout = std::chrono::seconds(s); }, 10, 1, 30}},
      {"cni", "conf_dir", GODWIT_TEXT(cni.conf_dir, absolute_path, "/etc/cni/net.d")},
      {"cni", "bin_dir", GODWIT_TEXT(cni.bin_dir, absolute_path, "/usr/lib/cni")},
      {"cni", "cache_dir", GODWIT_TEXT(cni.cache_dir, absolute_path, "/var/lib/cni")},
      {"memory", "tracking", GODWIT_TEXT(memory.tracking, tracking_method, "auto")},
      {"runtime", "runc", GODWIT_TEXT(runtime.runc, absolute_path_or_empty, "")},
      {"runtime", "criu", GODWIT_TEXT(runtime.criu, absolute_path_or_empty, "")},
      {"runtime", "root", GODWIT_TEXT(runtime.root, absolute_path, "/run/runc")},
      {"runtime", "stream_log_dir", GODWIT_TEXT(runtime.stream_log_dir, absolute_path, "/var/log/godwit")},
      {"limits", "migrations_max", GODWIT_INTEGER(limits.migrations_max, 32, 1, 1024)},
      {"limits", "step_timeout_s",
       IntegerRule{[](Config& c, int64_t s) { c.limits.step_timeout = std::chrono::seconds(s); }, 60, 1, 86400}},
      {"limits", "idle_timeout_s",
       IntegerRule{[](Config& c, int64_t s) { c.limits.idle_timeout = std::chrono::seconds(s); }, 20, 1, 86400}},
      {"limits", "connect_timeout_s", GODWIT_PEER_TIMEOUT(connect, 1)},
      {"limits", "answer_timeout_s", GODWIT_PEER_TIMEOUT(answer, 1)},
      {"limits", "handshake_timeout_s", GODWIT_PEER_TIMEOUT(handshake, 1)},
      {"limits", "peer_dead_after_s", GODWIT_PEER_TIMEOUT(dead_after, kDeadAfterMin / std::chrono::seconds(1))},
      {"limits", "image_bytes_max", GODWIT_INTEGER(limits.image_bytes_max, 16384 * kMiB, kMiB, int64_t{1} << 40)},
      {"limits", "bandwidth_max", GODWIT_INTEGER(limits.bandwidth_max, 0, 0, int64_t{1} << 40)},
  };
  return table;
}

#undef GODWIT_TEXT
#undef GODWIT_BOOLEAN
#undef GODWIT_INTEGER
#undef GODWIT_PEER_TIMEOUT

const Rule* find_rule(std::string_view section, std::string_view key) {
  for (const Rule& rule : rules())
    if (rule.section == section && rule.key == key) return &rule;
  return nullptr;
}

// [peers] and [links] are sections whose keys are names.
constexpr std::string_view kPeers = "peers";
constexpr std::string_view kLinks = "links";

bool is_section(std::string_view name) {
  if (name == kPeers || name == kLinks) return true;
  for (const Rule& rule : rules())
    if (rule.section == name && !name.empty()) return true;
  return false;
}

// --- Reading -------------------------------------------------------------------------------------

class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  Result<Config> read(const toml::table& root) {
    for (const auto& [key, node] : root) {
      if (!is_section(key.str())) {
        TRY(read_key("", key, node));
      } else if (const toml::table* section = node.as_table()) {
        TRY(read_section(key.str(), *section));
      } else {
        return fail_at(node.source(), std::string(key.str()) + " must be a section, [" + std::string(key.str()) + "]");
      }
    }
    TRY(fill_in_defaults());
    return std::move(config_);
  }

 private:
  std::unexpected<Error> fail_at(const toml::source_region& source, const std::string& what) {
    return fail(file_ + ":" + std::to_string(source.begin.line) + ": " + what);
  }

  Result<> read_section(std::string_view section, const toml::table& table) {
    for (const auto& [key, node] : table) {
      if (section == kPeers) {
        TRY(read_named(section, key, node, node_name, address, config_.peers));
      } else if (section == kLinks) {
        TRY(read_named(section, key, node, link_name, link_name, config_.links));
      } else {
        TRY(read_key(section, key, node));
      }
    }
    return {};
  }

  Result<> read_named(std::string_view section, const toml::key& key, const toml::node& node, const Check& check_key,
                      const Check& check_value, std::map<std::string, std::string>& entries) {
    const std::string name(key.str()), where = std::string(section);
    if (auto good = check_key(name); !good) return fail_at(key.source(), where + ": " + good.error().text());
    const auto* value = node.as_string();
    if (value == nullptr) return fail_at(node.source(), where + "." + name + " must be a string");
    if (auto good = check_value(value->get()); !good)
      return fail_at(node.source(), where + "." + name + ": " + good.error().text());
    entries[name] = value->get();
    return {};
  }

  Result<> read_key(std::string_view section, const toml::key& key, const toml::node& node) {
    const Rule* rule = find_rule(section, key.str());
    if (rule == nullptr) {
      const std::string prefix = section.empty() ? "" : std::string(section) + ".";
      return fail_at(key.source(), "unknown key '" + prefix + std::string(key.str()) + "'");
    }
    auto applied = std::visit([&](const auto& kind) { return apply(kind, node); }, rule->kind);
    if (!applied) return fail_at(node.source(), rule->name() + " " + applied.error().text());
    seen_.insert(rule);
    return {};
  }

  Result<> apply(const TextRule& rule, const toml::node& node) {
    const auto* value = node.as_string();
    if (value == nullptr) return fail("must be a string");
    TRY(rule.check(value->get()));
    rule.set(config_, value->get());
    return {};
  }

  Result<> apply(const BooleanRule& rule, const toml::node& node) {
    const auto* value = node.as_boolean();
    if (value == nullptr) return fail("must be true or false");
    rule.set(config_, value->get());
    return {};
  }

  Result<> apply(const IntegerRule& rule, const toml::node& node) {
    const auto* value = node.as_integer();
    if (value == nullptr) return fail("must be a whole number");
    if (value->get() < rule.min || value->get() > rule.max)
      return fail("must be from " + std::to_string(rule.min) + " to " + std::to_string(rule.max));
    rule.set(config_, value->get());
    return {};
  }

  Result<> fill_in_defaults() {
    for (const Rule& rule : rules()) {
      if (seen_.contains(&rule)) continue;
      if (const auto* text = std::get_if<TextRule>(&rule.kind)) {
        if (!text->default_value) return fail(file_ + ": required key '" + rule.name() + "' is missing");
        text->set(config_, *text->default_value);
      } else if (const auto* boolean = std::get_if<BooleanRule>(&rule.kind)) {
        boolean->set(config_, boolean->default_value);
      } else if (const auto* integer = std::get_if<IntegerRule>(&rule.kind)) {
        integer->set(config_, integer->default_value);
      }
    }
    return {};
  }

  std::string file_;
  Config config_;
  std::set<const Rule*> seen_;
};

ConfigKey describe(const Rule& rule) {
  if (const auto* text = std::get_if<TextRule>(&rule.kind))
    return {rule.name(), "string", text->default_value ? '"' + *text->default_value + '"' : ""};
  if (const auto* boolean = std::get_if<BooleanRule>(&rule.kind))
    return {rule.name(), "boolean", boolean->default_value ? "true" : "false"};
  return {rule.name(), "integer", std::to_string(std::get<IntegerRule>(rule.kind).default_value)};
}

// TEXT with another letter for each that is not ASCII, which only comments have: toml++ 3.3 and 3.4 run into undefined
// behaviour for some of them. Strings are followed as far as is needed to tell where comments begin.
Result<std::string> ascii_of(std::string_view text, std::string_view file) {
  std::string ascii(text);
  size_t line = 1;
  char quote = 0;  // of the string that the letter is in
  bool comment = false;
  const auto refuse = [&](const char* what) {
    return fail(std::string(file) + ":" + std::to_string(line) + ": " + what);
  };
  for (size_t at = 0; at < ascii.size(); ++at) {
    const char letter = ascii[at];
    if (letter == '\n') {
      if (quote != 0) return refuse("a string ends in the line where it begins");
      ++line;
      comment = false;
    } else if (static_cast<unsigned char>(letter) > 0x7f) {
      if (!comment) return refuse("letters that are not ASCII belong into comments");
      ascii[at] = '?';
    } else if (quote != 0) {
      const bool next_is_simple = at + 1 < ascii.size() && static_cast<signed char>(ascii[at + 1]) >= ' ';
      if (letter == '\\' && quote == '"' && next_is_simple) ++at;
      if (letter == quote) quote = 0;
    } else if (!comment) {
      comment = letter == '#';
      if (letter == '"' || letter == '\'') quote = letter;
    }
  }
  return ascii;
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view file) {
  TRY_ASSIGN(const std::string ascii, ascii_of(text, file));
  const toml::parse_result parsed = toml::parse(ascii);
  if (!parsed)
    return fail(std::string(file) + ":" + std::to_string(parsed.error().source().begin.line) + ": " +
                std::string(parsed.error().description()));
  TRY_ASSIGN(Config config, Reader(file).read(parsed.table()));
  config.peers.erase(config.node);  // so that all hosts of a cluster can have the same list
  return config;
}

Result<Config> load_config(const std::filesystem::path& path) {
  TRY_ASSIGN(const std::string text, read_file(path));
  return parse_config(text, path.string());
}

std::vector<ConfigKey> config_keys() {
  std::vector<ConfigKey> keys;
  for (const Rule& rule : rules()) {
    if (rule.section == "network" && (keys.empty() || keys.back().name.starts_with("tls.")))
      keys.push_back({"peers.NAME", "string", ""});
    if (rule.section == "hooks" && keys.back().name.starts_with("network."))
      keys.push_back({"links.NAME", "string", ""});
    keys.push_back(describe(rule));
  }
  return keys;
}

}  // namespace godwit
