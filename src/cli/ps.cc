// godwit ps: the containers of this host, and which of them are on the move.
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json_output.h"

namespace godwit::cli {

namespace {

std::string migration_text(const control::Container& container) {
  if (container.migration_id().empty()) return "-";
  return printable(container.migration_id() + " " + container.migration_phase() + ", with " +
                   container.migration_peer());
}

std::string list_text(const control::ListReply& reply, bool names_only) {
  std::vector<std::vector<std::string>> rows;
  if (!names_only) rows.push_back({"NAME", "STATUS", "PID", "MIGRATION", "BUNDLE"});
  for (const auto& container : reply.containers()) {
    if (names_only) {
      rows.push_back({printable(container.name())});
    } else {
      rows.push_back({printable(container.name()), printable(container.status()),
                      container.pid() > 0 ? std::to_string(container.pid()) : "-", migration_text(container),
                      printable(container.bundle())});
    }
  }
  return format_table(rows);
}

}  // namespace

int run(const PsOptions& options, const Context& context) {
  const Console& console = context.console;
  const auto reply = ask_agent(context.socket, [](AgentClient& client) { return client.list(); });
  if (!reply) {
    console.complain(reply.error().text());
    if (options.json) console.out(error_json(reply.error().text()) + "\n");
    return exit_code_of(reply.error());
  }
  console.out(options.json ? list_json(*reply) + "\n" : list_text(*reply, options.quiet));
  return kExitOk;
}

}  // namespace godwit::cli
