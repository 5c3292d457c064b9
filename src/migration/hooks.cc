#include "migration/hooks.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "network/address_text.h"
#include "network/mac.h"

namespace godwit {

namespace {

constexpr size_t kSaidBytesMax = 300;

const char* name_of(HookPhase phase) {
  static constexpr const char* kNames[] = {"attached", "detached", "rolled_back"};
  return kNames[static_cast<int>(phase)];
}

const std::filesystem::path& program_of(const HookPrograms& programs, HookPhase phase) {
  if (phase == HookPhase::kAttached) return programs.attached;
  return phase == HookPhase::kDetached ? programs.detached : programs.rolled_back;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string line;
  for (const std::string& text : texts) line += (line.empty() ? "" : " ") + text;
  return line;
}

Command command_of(const std::filesystem::path& program, const HookFacts& facts) {
  return {.argv = {program.string(), name_of(facts.phase)},
          .environment = {{"GODWIT_PHASE", name_of(facts.phase)},
                          {"GODWIT_CONTAINER", facts.container},
                          {"GODWIT_MIGRATION", facts.migration_id},
                          {"GODWIT_NODE", facts.node},
                          {"GODWIT_OTHER_NODE", facts.other},
                          {"GODWIT_NETNS", facts.netns},
                          {"GODWIT_INTERFACES", joined(facts.interfaces)},
                          {"GODWIT_MACS", joined(facts.macs)},
                          {"GODWIT_ADDRESSES", joined(facts.addresses)}},
          .kill_group = true};
}

std::string run_hook(const std::filesystem::path& program, const HookFacts& facts, milliseconds limit) {
  auto ended = run_command(command_of(program, facts), limit);
  std::string what;
  if (!ended) {
    what = ended.error().text();
  } else if (ended->status != 0) {
    what = fmt::format("exit status {}: {}", ended->status, trimmed(ended->errors).substr(0, kSaidBytesMax));
  }
  if (what.empty()) return "";
  what = fmt::format("the hook hooks.{} on {} failed: {}", name_of(facts.phase), facts.node, what);
  log::error("migration {}: {}", facts.migration_id, what);
  return what;
}

}  // namespace

HookFacts hook_facts(HookPhase phase, const std::string& container, const std::string& migration_id,
                     const peer::NetworkState& network) {
  HookFacts facts{
      .phase = phase, .container = container, .migration_id = migration_id, .node = {}, .other = {}, .netns = {}};
  for (const peer::Link& link : network.links()) {
    if (link.loopback()) continue;
    facts.interfaces.push_back(link.name());
    auto mac = network::unicast_mac(link.mac());
    facts.macs.push_back(mac ? network::to_text(*mac) : "?");
  }
  for (const peer::Address& address : network.addresses())
    if (address.link() != "lo")
      facts.addresses.push_back(fmt::format(
          "{}={}/{}", address.link(), network::address_text(address.family(), address.address()), address.prefix()));
  return facts;
}

std::future<std::string> start_hook(const HookPrograms& programs, HookFacts facts) {
  const std::filesystem::path& program = program_of(programs, facts.phase);
  if (program.empty()) {
    std::promise<std::string> nothing;
    nothing.set_value("");
    return nothing.get_future();
  }
  return std::async(std::launch::async, [program, facts = std::move(facts), limit = programs.limit] {
    return run_hook(program, facts, limit);
  });
}

std::string hook_problem(const HookPrograms& programs) {
  for (const auto& [key, program] :
       {std::pair{"attached", &programs.attached}, std::pair{"detached", &programs.detached},
        std::pair{"rolled_back", &programs.rolled_back}})
    if (!program->empty() && ::access(program->c_str(), X_OK) != 0)
      return fmt::format("hooks.{} in its godwit.toml is {}, which is no program", key, program->string());
  return "";
}

}  // namespace godwit
