// godwitd, the agent: godwitd(8).

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/heap.h"
#include "base/log.h"

namespace {

using namespace godwit;

constexpr int kNiceness = -10;

// The helper programs are beside the agent in a build tree, in libexec once installed.
std::filesystem::path helper_directory() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& candidate : {self / "../libexec", self / "../libexec/godwit"})
    if (std::filesystem::exists(candidate / "stream_keeper", error))
      return std::filesystem::weakly_canonical(candidate, error);
  return "/usr/libexec/godwit";
}

// Until SIGINT or SIGTERM. Tells systemd's watchdog, if there is one, twice as often as it wants to be told.
void serve(const Agent& agent, const sigset_t& signals) {
  uint64_t watchdog_us = 0;
  if (sd_watchdog_enabled(0, &watchdog_us) <= 0) watchdog_us = 0;
  const uint64_t half_us = watchdog_us / 2;
  const timespec half{.tv_sec = static_cast<time_t>(half_us / 1'000'000),
                      .tv_nsec = static_cast<long>(half_us % 1'000'000 * 1000)};
  for (;;) {
    const int number = watchdog_us == 0 ? ::sigwaitinfo(&signals, nullptr) : ::sigtimedwait(&signals, nullptr, &half);
    if (number == SIGINT || number == SIGTERM) return;
    if (number >= 0 || errno != EAGAIN) continue;
    agent.look_alive();
    sd_notify(0, "WATCHDOG=1");
  }
}

int run(const std::string& config_path) {
  auto config = load_config(config_path);
  if (!config) {
    std::fprintf(stderr, "godwitd: %s\n", config.error().text().c_str());
    return 2;
  }
  log::init("godwitd", config->agent.log_level);
  take_heap();
  // Threads inherit the mask: these signals come to sigwait only.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  // What the agent, runC and CRIU do while a container stands still comes before what else the host computes. CRIU
  // gives a container's own processes the niceness they had.
  if (::setpriority(PRIO_PROCESS, 0, kNiceness) != 0) log::warn("niceness stays as it is: {}", std::strerror(errno));

  auto agent = Agent::start(*config, helper_directory());
  if (!agent) {
    log::error("{}", agent.error().text());
    return 1;
  }
  log::info("godwitd {} on {} is ready", GODWIT_VERSION, config->node);
  sd_notify(0, "READY=1");
  serve(**agent, signals);
  log::info("stopping");
  sd_notify(0, "STOPPING=1");
  agent->reset();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("godwit's agent: moves running runC containers to and from this host", "godwitd");
  std::string config_path(kConfigPathDefault);
  app.add_option("--config", config_path, "configuration file")->capture_default_str();
  app.set_version_flag("--version", std::string("godwitd ") + GODWIT_VERSION);
  CLI11_PARSE(app, argc, argv);
  if (::geteuid() != 0) {
    std::fprintf(stderr, "godwitd: must be root: it stops, moves and restores containers\n");
    return 1;
  }
  return run(config_path);
}
