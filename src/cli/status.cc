// godwit status: the migrations that the agent of this host takes or took part in.
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json_output.h"

namespace godwit::cli {

namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string outcome_text(const control::Migration& migration) {
  if (migration.ongoing()) return printable(migration.phase());
  return migration.outcome().empty() ? "-" : printable(migration.outcome());
}

std::string downtime_text(const control::Migration& migration) {
  return migration.downtime_ms() > 0 ? format_ms(migration.downtime_ms()) : "-";
}

std::string list_text(const control::StatusReply& reply) {
  Rows rows = {{"ID", "CONTAINER", "ROLE", "PEER", "STATE", "ELAPSED", "SENT", "DOWNTIME"}};
  for (const auto& migration : reply.migrations())
    rows.push_back({printable(migration.id()), printable(migration.container()), printable(migration.role()),
                    printable(migration.peer()), outcome_text(migration), format_ms(migration.elapsed_ms()),
                    format_bytes(static_cast<double>(migration.bytes_sent())), downtime_text(migration)});
  return format_table(rows);
}

std::string ids_text(const control::StatusReply& reply) {
  std::string text;
  for (const auto& migration : reply.migrations()) text += printable(migration.id()) + "\n";
  return text;
}

std::string one_text(const control::Migration& migration) {
  Rows rows = {{"id", printable(migration.id())},
               {"container", printable(migration.container())},
               {"role", printable(migration.role())},
               {"peer", printable(migration.peer())},
               {"ongoing", migration.ongoing() ? "yes" : "no"},
               {"phase", printable(migration.phase())},
               {"outcome", migration.outcome().empty() ? "-" : printable(migration.outcome())},
               {"elapsed", format_ms(migration.elapsed_ms())},
               {"sent", format_bytes(static_cast<double>(migration.bytes_sent()))},
               {"downtime", downtime_text(migration)}};
  if (!migration.error().empty()) rows.push_back({"error", printable(migration.error())});
  return format_table(rows);
}

std::string status_text(const StatusOptions& options, const control::StatusReply& reply) {
  if (options.quiet) return ids_text(reply);
  if (!options.id.empty() && reply.migrations_size() == 1) return one_text(reply.migrations(0));
  if (reply.migrations().empty()) return "no migrations since this agent started\n";
  return list_text(reply);
}

}  // namespace

int run(const StatusOptions& options, const Context& context) {
  const Console& console = context.console;
  auto reply = ask_agent(context.socket, [&](AgentClient& client) { return client.status(options.id); });
  if (reply && reply->migrations().empty() && !options.id.empty()) reply = fail("no migration " + options.id);
  if (!reply) {
    console.complain(reply.error().text());
    if (options.json) console.out(error_json(reply.error().text()) + "\n");
    return exit_code_of(reply.error());
  }
  console.out(options.json ? status_json(*reply) + "\n" : status_text(options, *reply));
  return kExitOk;
}

}  // namespace godwit::cli
