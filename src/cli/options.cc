#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <sstream>

#include "cli/exit_code.h"
#include "cli/memory_options.h"

namespace godwit::cli {

namespace {

constexpr const char* kFooter =
    "Exit status: 0 done; 1 failed, or check found problems; 2 usage; 3 rolled back: the "
    "container\nruns on the source; 4 no agent answers. See godwit(1).";

// Adds the subcommand NAME; when it is given, the command line's command becomes OPTIONS, which the
// subcommand's own options then fill in.
template <typename Options>
CLI::App* add_command(CLI::App& app, CommandLine& line, Options& options, const char* name, const char* description) {
  CLI::App* command = app.add_subcommand(name, description);
  command->callback([&line, &options] { line.command = options; });
  return command;
}

struct AllOptions {
  MigrateOptions migrate;
  CheckOptions check;
  PsOptions ps;
  StatusOptions status;
  CancelOptions cancel;
  ResolveOptions resolve;
  VersionOptions version;
  PkiCaOptions ca;
  PkiHostOptions host;
};

void add_migrate_and_check(CLI::App& app, CommandLine& line, AllOptions& all) {
  CLI::App* migrate = add_command(app, line, all.migrate, "migrate", "Move a running container to another host");
  control::MigrateRequest& request = all.migrate.request;
  migrate->add_option("NAME", *request.mutable_container(), "Container, as runc list shows it")->required();
  migrate->add_option("--to", *request.mutable_target(), "Node to move it to")->required();
  add_memory_options(*migrate, request);
  migrate->add_flag("--json", all.migrate.json, "The report as one JSON object on standard output");
  migrate->add_flag("-q,--quiet", all.migrate.quiet, "No progress on standard error");

  CLI::App* check = add_command(app, line, all.check, "check", "Tell whether a container can move; change nothing");
  check->add_option("NAME", all.check.container, "Container")->required();
  check->add_option("--to", all.check.target, "Node it would move to")->required();
  check->add_flag("--json", all.check.json, "One JSON object");
}

void add_queries(CLI::App& app, CommandLine& line, AllOptions& all) {
  CLI::App* ps = add_command(app, line, all.ps, "ps", "List this host's containers");
  ps->add_flag("--json", all.ps.json, "One JSON object");
  ps->add_flag("-q,--quiet", all.ps.quiet, "Names only");

  CLI::App* status = add_command(app, line, all.status, "status", "Show migrations, ongoing and remembered");
  status->add_option("ID", all.status.id, "Only this migration");
  status->add_flag("--json", all.status.json, "One JSON object");
  status->add_flag("-q,--quiet", all.status.quiet, "Ids only");

  CLI::App* cancel =
      add_command(app, line, all.cancel, "cancel", "Cancel a migration; its container goes on running on the source");
  cancel->add_option("ID", all.cancel.id, "Migration, as godwit status shows it")->required();

  CLI::App* resolve = add_command(app, line, all.resolve, "resolve",
                                  "Decide which copy of a container goes on, where the agents cannot know");
  resolve->add_option("ID", *all.resolve.request.mutable_migration_id(), "Migration, as godwit status shows it")
      ->required();
  CLI::Option* source = resolve->add_flag("--source", all.resolve.source, "The source's copy");
  CLI::Option* target = resolve->add_flag("--target", all.resolve.target, "The target's copy")->excludes(source);
  resolve->callback([&line, &all, source, target] {
    if (source->count() + target->count() == 0) throw CLI::RequiredError("--source or --target");
    line.command = all.resolve;
  });
  resolve->add_flag("--yes", all.resolve.yes, "What the warning says is so");

  CLI::App* version = add_command(app, line, all.version, "version", "Versions of this command and of the agent");
  version->add_flag("--json", all.version.json, "One JSON object");
}

void add_pki(CLI::App& app, CommandLine& line, AllOptions& all) {
  CLI::App* pki = app.add_subcommand("pki", "Make the certificates that agents know each other by");
  pki->require_subcommand(1);
  const CLI::Range days(1, kCertificateDaysMax);

  CLI::App* ca = add_command(*pki, line, all.ca, "ca", "Make a certificate authority");
  ca->add_option("--dir", all.ca.dir, "Where ca.crt and ca.key go")->required();
  ca->add_option("--days", all.ca.days, "Valid for so long")->check(days)->capture_default_str();
  ca->add_flag("--force", all.ca.force, "Replace an authority that is there already");

  CLI::App* host = add_command(*pki, line, all.host, "host", "Make or renew a host's certificate");
  host->add_option("NAME", all.host.host.name, "The host's node name")->required();
  host->add_option("--ip", all.host.host.addresses, "The host's addresses; may be repeated")->expected(1, -1);
  host->add_option("--ca", all.host.ca_dir, "Directory of ca.crt and ca.key")->required();
  host->add_option("--out", all.host.out_dir, "Where host.crt, host.key and ca.crt go")->required();
  host->add_option("--days", all.host.host.days, "Valid for so long")->check(days)->capture_default_str();
}

CommandLineEnd end_of(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = app.exit(error, out, err);
  if (code == 0) return {kExitOk, out.str(), ""};
  return {kExitUsage, "", "godwit: " + err.str()};
}

}  // namespace

std::expected<CommandLine, CommandLineEnd> parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  AllOptions all;
  CLI::App app("Live migration of runC containers: memory, processes and connections arrive.", "godwit");
  app.footer(kFooter);
  app.fallthrough();  // so that --socket may stand after the command as well
  app.require_subcommand(1);
  app.add_option("--socket", line.socket, "The local agent's socket")
      ->envname("GODWIT_SOCKET")
      ->capture_default_str()
      ->take_last();
  app.set_version_flag("--version", std::string("godwit ") + GODWIT_VERSION);
  add_migrate_and_check(app, line, all);
  add_queries(app, line, all);
  add_pki(app, line, all);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return std::unexpected(end_of(app, error));
  }
  return line;
}

}  // namespace godwit::cli
