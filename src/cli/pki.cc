// godwit pki: the certificates by which agents know each other. Needs no agent.
#include "transport/pki.h"

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"

namespace godwit::cli {

namespace {

int finish(const Result<>& made, const Console& console, const std::string& done) {
  if (!made) {
    console.complain(made.error().text());
    return kExitFailed;
  }
  console.out(printable(done) + "\n");
  return kExitOk;
}

}  // namespace

int run(const PkiCaOptions& options, const Context& context) {
  const auto made = make_ca(options.dir, options.days, options.force ? Overwrite::kForce : Overwrite::kRefuse);
  return finish(made, context.console,
                "made " + options.dir +
                    "/ca.crt and ca.key; keep ca.key secret, hosts do not "
                    "need it");
}

int run(const PkiHostOptions& options, const Context& context) {
  const auto made = make_host_certificate(options.host, options.ca_dir, options.out_dir);
  return finish(made, context.console,
                "made " + options.out_dir + "/host.crt, host.key and ca.crt for " + options.host.name);
}

}  // namespace godwit::cli
