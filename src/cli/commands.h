// The commands. Each has a file of its own name and returns the exit status.
#pragma once

#include <string>

#include "cli/console.h"
#include "cli/options.h"

namespace godwit::cli {

struct Context {
  std::string socket;  // of the local agent
  Console console;
};

int run(const MigrateOptions& options, const Context& context);
int run(const CheckOptions& options, const Context& context);
int run(const PsOptions& options, const Context& context);
int run(const StatusOptions& options, const Context& context);
int run(const CancelOptions& options, const Context& context);
int run(const ResolveOptions& options, const Context& context);
int run(const VersionOptions& options, const Context& context);
int run(const PkiCaOptions& options, const Context& context);
int run(const PkiHostOptions& options, const Context& context);

// Parses the command line, runs its command, and returns the exit status of the program.
int run_command_line(int argc, const char* const* argv, const Console& console);

}  // namespace godwit::cli
