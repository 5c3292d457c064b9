// godwit version: this command's version and, if it can be asked, the agent's. That it cannot is
// told, but no failure.
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json_output.h"

namespace godwit::cli {

namespace {

std::string version_text(const Result<control::VersionReply>& agent) {
  std::vector<std::vector<std::string>> rows = {{"godwit", GODWIT_VERSION}};
  if (!agent) {
    rows.push_back({"agent", "not known: " + printable(agent.error().text())});
    return format_table(rows);
  }
  rows.push_back({"agent", printable(agent->version() + " on " + agent->node())});
  rows.push_back({"protocol", std::to_string(agent->protocol_major()) + "." + std::to_string(agent->protocol_minor())});
  rows.push_back({"runc", printable(agent->runc())});
  rows.push_back({"criu", printable(agent->criu())});
  return format_table(rows);
}

}  // namespace

int run(const VersionOptions& options, const Context& context) {
  const auto agent = ask_agent(context.socket, [](AgentClient& client) { return client.version(); });
  context.console.out(options.json ? version_json(agent) + "\n" : version_text(agent));
  return kExitOk;
}

}  // namespace godwit::cli
