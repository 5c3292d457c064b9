// godwit check: the pre-flight of a migration, which changes nothing.
#include "base/identifier.h"
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json_output.h"

namespace godwit::cli {

namespace {

Result<> check_names(const CheckOptions& options) {
  TRY(check_name("container name", options.container));
  return check_name("node name", options.target);
}

template <typename Findings>
std::string findings_text(const Findings& findings) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& finding : findings)
    rows.push_back({"  " + printable(finding.host()), printable(finding.subject()), printable(finding.text())});
  return format_table(rows);
}

std::string check_text(const CheckOptions& options, const control::CheckReply& reply) {
  std::string text = findings_text(reply.facts());
  if (reply.problems().empty()) return text + options.container + " can move to " + options.target + "\n";
  text += options.container + " cannot move to " + options.target + ":\n";
  return text + findings_text(reply.problems());
}

int fail_check(const CheckOptions& options, const Console& console, const Error& error, int exit_code) {
  console.complain(error.text());
  if (options.json) console.out(error_json(error.text()) + "\n");
  return exit_code;
}

}  // namespace

int run(const CheckOptions& options, const Context& context) {
  const Console& console = context.console;
  if (auto names = check_names(options); !names) return fail_check(options, console, names.error(), kExitUsage);

  control::CheckRequest request;
  request.set_container(options.container);
  request.set_target(options.target);
  const auto reply = ask_agent(context.socket, [&](AgentClient& client) { return client.check(request); });
  if (!reply) return fail_check(options, console, reply.error(), exit_code_of(reply.error()));

  console.out(options.json ? check_json(request, *reply) + "\n" : check_text(options, *reply));
  return reply->problems().empty() ? kExitOk : kExitFailed;
}

}  // namespace godwit::cli
