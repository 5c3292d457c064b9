#include "network/nftables.h"

#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json_depth.h"
#include "base/subprocess.h"
#include "kernel/rtnetlink.h"

namespace godwit::network {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kNftEndsWithin = 10s;
constexpr size_t kStringBytesMax = 1024;

// What a ruleset consists of. Other keys of the JSON form are commands.
constexpr std::array<std::string_view, 15> kObjects = {
    "table",     "chain",      "rule",           "set",   "map",     "element", "flowtable", "counter", "quota",
    "ct helper", "ct timeout", "ct expectation", "limit", "secmark", "synproxy"};

const char* find_nft() {
  static constexpr std::array kPlaces = {"/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft"};
  for (const char* place : kPlaces)
    if (::access(place, X_OK) == 0) return place;
  return nullptr;
}

Result<const char*> need_nft() {
  if (const char* nft = find_nft()) return nft;
  return fail("the program nft is missing (package nftables)");
}

// Asked of the kernel: starting a program takes ten times as long, and most containers have no table.
Result<bool> has_tables() {
  auto socket = RouteSocket::open_family(NETLINK_NETFILTER);
  if (!socket) return false;  // a kernel without netfilter
  const nfgenmsg header{.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = 0};
  bool any = false;
  auto dumped = socket->dump(
      NetlinkRequest(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE), 0, header),
      [&](const NetlinkMessage&) { any = true; }, [] {});
  // A kernel without nftables.
  if (!dumped && dumped.error().code() != EINVAL && dumped.error().code() != EOPNOTSUPP)
    return fail(std::move(dumped.error()).during("nftables"));
  return any;
}

bool is_plain(std::string_view text) {
  return text.size() <= kStringBytesMax &&
         std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; });
}

Result<> check_value(const json& value, int depth) {
  if (depth > kNftablesDepthMax) return fail("nested too deeply");
  if (value.is_string() && !is_plain(value.get_ref<const std::string&>())) return fail("a text with odd characters");
  if (value.is_object())
    for (const auto& [key, below] : value.items()) {
      if (!is_plain(key)) return fail("a key with odd characters");
      if (key == "xt") return fail("a rule of iptables that nft cannot express");
      TRY(check_value(below, depth + 1));
    }
  if (value.is_array())
    for (const json& below : value) TRY(check_value(below, depth + 1));
  return {};
}

Result<> check_object(const json& object) {
  if (!object.is_object() || object.size() != 1) return fail("not an object of a ruleset");
  const auto only = object.begin();
  if (std::ranges::find(kObjects, only.key()) == kObjects.end()) return fail("an object of an unknown kind");
  if (!only->is_object()) return fail("an object without content");
  return check_value(*only, 0);
}

// Of nft's output, its list, an object, and what check_value() is given, where that counts from 0.
constexpr int kJsonDepthMax = kNftablesDepthMax + 4;

Result<json> parse(const std::string& text) {
  if (text.size() > kNftablesBytesMax)
    return fail(std::to_string(text.size()) + " bytes, more than " + std::to_string(kNftablesBytesMax));
  if (!is_json_within(text, kJsonDepthMax)) return fail("no JSON, or nested too deeply");
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return fail("no JSON");
  return value;
}

Result<json> parse_rules(const std::string& rules) {
  TRY_ASSIGN(json list, parse(rules));
  if (!list.is_array() || list.size() > static_cast<size_t>(kNftablesObjectsMax)) return fail("no list, or too long");
  for (const json& object : list) TRY(check_object(object));
  return list;
}

// Elements of a map may lead to chains, and rules use everything else: nft lists them in another order than it needs.
int rank(const json& object) {
  const std::string& kind = object.begin().key();
  if (kind == "table") return 0;
  if (kind == "chain") return 1;
  if (kind == "set" || kind == "map") return 3;
  if (kind == "element") return 4;
  return kind == "rule" ? 5 : 2;
}

Result<ScopedFd> memory_file(const std::string& text) {
  ScopedFd fd(memfd_create("nftables", MFD_CLOEXEC));
  if (!fd) return fail_errno("memfd_create");
  for (size_t at = 0; at < text.size();) {
    const ssize_t bytes = ::write(fd.get(), text.data() + at, text.size() - at);
    if (bytes <= 0) return fail_errno("memfd");
    at += static_cast<size_t>(bytes);
  }
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return fail_errno("memfd");
  return fd;
}

Result<std::string> list_of_ruleset(const std::string& listed) {
  TRY_ASSIGN(json ruleset, parse(listed));
  if (!ruleset.is_object() || !ruleset["nftables"].is_array()) return fail("nft list ruleset: not the JSON expected");
  json list = json::array();
  for (json& object : ruleset["nftables"]) {
    if (object.contains("metainfo")) continue;
    for (auto& content : object)
      if (content.is_object()) content.erase("handle");
    list.push_back(std::move(object));
  }
  std::string text = list.dump();
  TRY_DOING("cannot be carried", check_nftables(text));
  return text;
}

// Tables of the older iptables, which nft does not see. A table exists as soon as somebody has listed it.
Result<> refuse_legacy_tables() {
  for (const auto& [names, program] :
       {std::pair{"ip_tables_names", "iptables-legacy-save"}, std::pair{"ip6_tables_names", "ip6tables-legacy-save"}}) {
    auto tables = read_file(std::string("/proc/thread-self/net/") + names);
    if (!tables || tables->empty()) continue;
    auto saved = run_checked({.argv = {std::string("/usr/sbin/") + program}}, kNftEndsWithin);
    const bool empty = saved && saved->find("\n-A ") == std::string::npos && saved->find(" DROP ") == std::string::npos;
    if (!empty)
      return fail("the namespace has rules of iptables-legacy, which cannot be carried; nftables or iptables-nft can");
  }
  return {};
}

}  // namespace

bool has_nft() { return find_nft() != nullptr; }

Result<> check_nftables(const std::string& rules) {
  if (rules.empty()) return {};
  if (auto parsed = parse_rules(rules); !parsed) return fail(std::move(parsed.error()).during("nftables rules"));
  return {};
}

Result<std::string> read_nftables() {
  TRY(refuse_legacy_tables());
  TRY_ASSIGN(const bool any, has_tables());
  if (!any) return std::string();
  TRY_ASSIGN(const char* nft, need_nft());
  TRY_ASSIGN(const CommandOutput listed, run_command({.argv = {nft, "--json", "list", "ruleset"}}, kNftEndsWithin));
  if (listed.status != 0) return fail("nft list ruleset: " + listed.errors.substr(0, 300));
  if (listed.out.size() >= kCommandOutputBytesMax) return fail("the nftables rules are too many");
  return list_of_ruleset(listed.out);
}

Result<> write_nftables(const std::string& rules) {
  TRY_ASSIGN(const bool any, has_tables());
  if (rules.empty() && !any) return {};
  json commands = json::array({json{{"flush", {{"ruleset", nullptr}}}}});
  if (!rules.empty()) {
    TRY_ASSIGN(json list, parse_rules(rules));
    std::vector<json> objects(list.begin(), list.end());
    std::ranges::stable_sort(objects, {}, rank);
    for (json& object : objects) commands.push_back(json{{"add", std::move(object)}});
  }
  TRY_ASSIGN(const char* nft, need_nft());
  TRY_ASSIGN(const ScopedFd input, memory_file(json{{"nftables", std::move(commands)}}.dump()));
  // Not "-", for which nft wants a /dev/stdin: a minimal /dev has none.
  TRY_ASSIGN(
      const CommandOutput done,
      run_command({.argv = {nft, "--json", "--file", "/proc/self/fd/0"}, .stdin_fd = input.get()}, kNftEndsWithin));
  if (done.status != 0) return fail("nft refuses the rules: " + done.errors.substr(0, 300));
  return {};
}

}  // namespace godwit::network
