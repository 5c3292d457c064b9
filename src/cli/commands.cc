#include "cli/commands.h"

#include "cli/exit_code.h"

namespace godwit::cli {

namespace {

int run(std::monostate, const Context& context) {
  context.console.complain("no command");
  return kExitUsage;
}

}  // namespace

int run_command_line(int argc, const char* const* argv, const Console& console) {
  const auto line = parse_command_line(argc, argv);
  if (!line) {
    console.out(line.error().out);
    console.err(line.error().err);
    return line.error().exit_code;
  }
  const Context context{line->socket, console};
  return std::visit([&context](const auto& options) { return run(options, context); }, line->command);
}

}  // namespace godwit::cli
