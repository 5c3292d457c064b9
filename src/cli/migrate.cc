// godwit migrate: moves a container and shows how it goes. Progress goes to standard error, the
// result to standard output.
#include "base/identifier.h"
#include "cli/agent_client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/json_output.h"
#include "cli/migrate_session.h"
#include "cli/report_text.h"

namespace godwit::cli {

namespace {

Result<> check_names(const MigrateOptions& options) {
  TRY(check_name("container name", options.request.container()));
  return check_name("node name", options.request.target());
}

// Nothing was asked of an agent yet.
int fail_early(const MigrateOptions& options, const Console& console, const std::string& error, int exit_code) {
  console.complain(error);
  if (options.json) {
    const auto report = report_of_failure(options.request, error, "as before: the migration had not begun");
    console.out(report_json(report) + "\n");
  }
  return exit_code;
}

}  // namespace

int run(const MigrateOptions& options, const Context& context) {
  const Console& console = context.console;
  if (auto names = check_names(options); !names) return fail_early(options, console, names.error().text(), kExitUsage);

  // First of all, before the client starts threads.
  Inbox<SessionEvent> inbox;
  const Interrupts interrupts([&inbox](int signal) { inbox.push(Interrupted{signal}); });

  auto client = connect_agent(context.socket);
  if (!client) return fail_early(options, console, client.error().text(), exit_code_of(client.error()));

  const auto display = make_progress_display(console, options.quiet ? Quiet::kYes : Quiet::kNo);
  const SessionEnd end = MigrateSession(**client, inbox, *display).run(options.request);
  if (options.json) {
    if (!options.quiet && !end.report.error().empty()) console.complain(end.report.error());
    console.out(report_json(end.report) + "\n");
  } else {
    console.out(report_text(end.report));
  }
  return end.exit_code;
}

}  // namespace godwit::cli
