// godwit cancel: ends a migration before its commit; the container goes on running on the source.
#include "base/identifier.h"
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"

namespace godwit::cli {

int run(const CancelOptions& options, const Context& context) {
  const Console& console = context.console;
  if (auto id = check_id(options.id); !id) {
    console.complain(id.error().text());
    return kExitUsage;
  }
  const auto reply = ask_agent(context.socket, [&](AgentClient& client) { return client.cancel(options.id); });
  if (!reply) {
    console.complain(reply.error().text());
    return exit_code_of(reply.error());
  }
  console.out(printable(reply->text()) + "\n");
  return kExitOk;
}

}  // namespace godwit::cli
