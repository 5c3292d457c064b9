// godwit resolve: an operator decides which copy of a container goes on, where the agents cannot know.
#include "base/identifier.h"
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"

namespace godwit::cli {

namespace {

// What the user vouches for, and what follows if it is not so. ROLE: of this host.
std::string warning(const control::Migration& migration, control::Side side) {
  const std::string peer = printable(migration.peer()), name = "'" + printable(migration.container()) + "'";
  if (migration.role() == "source" && side == control::SOURCE)
    return "the copy of " + name + " here goes on, as it was at the switch-over. You vouch that " + peer +
           " does not run it and never will: otherwise two copies run with one address";
  if (migration.role() == "source")
    return "the copy of " + name + " here is removed. You vouch that " + peer +
           " runs it, with all of its memory: otherwise there is none any more";
  if (side == control::SOURCE)
    return "what is here of " + name + " is removed. You vouch that " + peer +
           " runs it, or is to: otherwise there is none any more";
  return "the copy of " + name + " here stays. You vouch that " + peer +
         " does not run it and never will: otherwise two copies run with one address";
}

Result<control::Migration> find(AgentClient& client, const std::string& id) {
  TRY_ASSIGN(const auto reply, client.status(id));
  if (reply.migrations_size() != 1) return fail("no migration " + id);
  return reply.migrations(0);
}

}  // namespace

int run(const ResolveOptions& options, const Context& context) {
  const Console& console = context.console;
  control::ResolveRequest request = options.request;
  if (auto id = check_id(request.migration_id()); !id) {
    console.complain(id.error().text());
    return kExitUsage;
  }
  request.set_side(options.source ? control::SOURCE : control::TARGET);
  std::string unread;
  const auto reply = ask_agent(context.socket, [&](AgentClient& client) -> Result<control::ResolveReply> {
    TRY_ASSIGN(const auto migration, find(client, request.migration_id()));
    const std::string text = warning(migration, request.side());
    if (options.yes) return client.resolve(request);
    unread = text;
    return control::ResolveReply();
  });
  if (!reply) {
    console.complain(reply.error().text());
    return exit_code_of(reply.error());
  }
  if (!unread.empty()) {
    console.complain(unread + ". If that is so, say --yes");
    return kExitUsage;
  }
  console.out(printable(reply->text()) + "\n");
  return kExitOk;
}

}  // namespace godwit::cli
