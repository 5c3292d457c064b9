// The godwit command: talks to the agent of this host. commands.h lists what it can do.
#include <csignal>
#include <cstdlib>

#include "cli/commands.h"

int main(int argc, char** argv) {
  // A reader that went away (| head) must not end a migration: the call would be cancelled.
  std::signal(SIGPIPE, SIG_IGN);
  // Errors of calls are ours to tell; gRPC's own lines would tear the progress display.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  return godwit::cli::run_command_line(argc, argv, godwit::cli::Console::detect());
}
