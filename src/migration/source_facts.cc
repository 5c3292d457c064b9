#include "migration/source_facts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "kernel/mounts.h"
#include "kernel/netns.h"
#include "kernel/proc.h"
#include "network/capture.h"
#include "runtime/criu_fitness.h"
#include "runtime/lens_files.h"
#include "runtime/obstacles.h"
#include "runtime/streams.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

constexpr size_t kFilesMax = 4096;  // of FileIdentity; a program has tens of libraries

std::string status_problem(const ContainerState& container) {
  if (container.status == "running") return "";
  std::string text = fmt::format("container '{}' is {}", container.name, container.status);
  if (container.status == "paused") return text + ": runc resume it first";
  return text + ": only a running container can be migrated";
}

// Anonymous and shared memory of all processes, but not more than the kernel charges to the container: memory that
// several processes share is counted once there.
uint64_t memory_in_use(const std::vector<pid_t>& processes) {
  uint64_t sum = 0;
  for (pid_t pid : processes)
    if (auto status = proc::status(pid)) sum += status->unshared_bytes;
  return sum;
}

// Without a cgroup namespace the container cannot make cgroups that CRIU would have to know; what somebody made
// below its cgroup from outside shows as a directory.
bool has_simple_cgroups(const SourceFacts& facts) {
  if (facts.spec.own_cgroupns) return false;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(facts.container.freezer_cgroup, error))
    if (entry.is_directory(error)) return false;
  return !error;
}

void look_at_network(SourceFacts& facts) {
  if (!facts.spec.netns_path) {
    facts.problems.push_back(problem(
        "network", facts.spec.own_netns
                       ? "config.json gives its network namespace no path, so runc made one that cannot move with "
                         "its connections: make a namespace (ip netns add NAME), set linux.namespaces[network].path to "
                         "/run/netns/NAME, and start the container again"
                       : "it uses the network of this host: give it a network namespace of its own with a path "
                         "(linux.namespaces[network].path), so that its address can move with it"));
    return;
  }
  if (!facts.spec.netns_path->starts_with("/run/netns/") && !facts.spec.netns_path->starts_with("/var/run/netns/")) {
    facts.problems.push_back(
        problem("network", "its network namespace " + *facts.spec.netns_path + " is not a named one below /run/netns"));
    return;
  }
  auto netns = open_netns(*facts.spec.netns_path);
  if (!netns) {
    facts.problems.push_back(problem("network", netns.error().text()));
    return;
  }
  auto ports = network::find_host_ports(netns->get());
  auto state = network::capture_namespace(netns->get());
  if (!ports) facts.problems.push_back(problem("network", ports.error().text()));
  if (!state) facts.problems.push_back(problem("network", state.error().text()));
  if (!ports || !state) return;
  network::note_bridges(*ports, *state);
  facts.ports = std::move(*ports);
  facts.network = std::move(*state);
}

bool is_below_bind_mount(const OciSpec& spec, const std::string& path) {
  return std::ranges::any_of(spec.bind_mounts, [&](const BindMount& mount) {
    return path == mount.destination || path.starts_with(mount.destination + "/");
  });
}

void add_program_files(const SourceFacts& facts, peer::Preflight& message) {
  std::set<std::string> seen;
  for (pid_t pid : facts.processes) {
    auto paths = proc::mapped_files(pid);
    if (!paths) continue;
    for (const std::string& path : *paths) {
      if (seen.size() >= kFilesMax || !seen.insert(path).second) continue;
      struct stat entry{};
      const std::string seen_from_here = fmt::format("/proc/{}/root{}", pid, path);
      if (is_below_bind_mount(facts.spec, path) || ::stat(seen_from_here.c_str(), &entry) != 0) continue;
      peer::FileIdentity* file = message.add_files();
      file->set_path(path);
      file->set_size(static_cast<uint64_t>(entry.st_size));
      file->set_mode(entry.st_mode);
    }
  }
}

// CRIU by itself restores none whose network namespace is there before.
void look_at_user_namespace(const Host& host, SourceFacts& facts) {
  auto add = [&](const std::string& text) {
    facts.problems.push_back(problem("userns", "the container has a user namespace: " + text));
  };
  if (facts.spec.other_userns) add("config.json names one by its path, and it cannot be joined on another host");
  if (auto fit = check_lens(host.lens, host.criu); !fit) add(fit.error().text());
  if (!facts.spec.netns_path) return;
  auto netns = open_netns(*facts.spec.netns_path);
  auto own = netns ? is_own_netns(netns->get()) : Result<bool>(std::unexpected(netns.error()));
  if (!own) return add(own.error().text());
  if (!*own) add("its network namespace belongs to a user namespace, on the target it would belong to the host");
}

}  // namespace

peer::Problem problem(std::string subject, std::string text) {
  peer::Problem value;
  value.set_subject(std::move(subject));
  value.set_text(std::move(text));
  return value;
}

std::string criu_problem(const Host& host) {
  auto fit = check_criu(host.criu);
  return fit ? "" : fit.error().text();
}

Result<SourceFacts> collect_source_facts(const Host& host, const std::string& container) {
  SourceFacts facts;
  TRY_ASSIGN(facts.container, Runc(host.runc).state(container));
  if (std::string text = status_problem(facts.container); !text.empty()) return fail(text);
  TRY_ASSIGN(facts.config_json, read_file(facts.container.bundle / "config.json", kOciSpecBytesMax));
  TRY_ASSIGN(facts.spec, parse_oci_spec(facts.config_json, facts.container.bundle));
  TRY_ASSIGN(facts.processes, proc::processes_in_cgroup(facts.container.freezer_cgroup));
  TRY_ASSIGN(facts.streams, find_streams(facts.container.pid, facts.spec.terminal));
  facts.memory_bytes = memory_in_use(facts.processes);
  facts.simple_cgroups = has_simple_cgroups(facts);

  look_at_network(facts);
  if (facts.spec.own_userns) look_at_user_namespace(host, facts);
  if (facts.spec.netns_path) facts.cni = network::find_cni_attachments(host.cni, *facts.spec.netns_path);
  if (std::string text = hook_problem(host.hooks); !text.empty())
    facts.problems.push_back(problem("hooks", host.node + ": " + text));
  for (peer::Problem& found : find_obstacles(facts.processes, facts.streams))
    facts.problems.push_back(std::move(found));
  if (std::string text = criu_problem(host); !text.empty()) facts.problems.push_back(problem("criu", text));
  return facts;
}

peer::Preflight preflight_message(const Host& host, const SourceFacts& facts) {
  peer::Preflight message;
  message.set_container(facts.container.name);
  message.set_config_json(facts.config_json);
  message.set_bundle(facts.container.bundle.string());
  message.set_memory_bytes(facts.memory_bytes);
  add_program_files(facts, message);
  for (const std::string& flag : proc::cpu_flags()) message.add_cpu_flags(flag);
  if (auto mounts = read_mounts(facts.container.pid); mounts)
    for (const std::string& name : cgroup_v1_mounts(*mounts)) message.add_cgroup_v1_mounts(name);
  if (!facts.ports.empty()) {
    message.set_bridge(facts.ports[0].bridge);
    message.set_mtu(facts.ports[0].mtu);
  }
  for (const peer::Link& link : facts.network.links())
    if (!link.loopback()) *message.add_links() = link;
  for (const peer::Address& address : facts.network.addresses()) *message.add_addresses() = address;
  for (const peer::CniAttachment& attachment : facts.cni) *message.add_cni() = attachment;
  for (const peer::Stream& stream : facts.streams) *message.add_streams() = stream;
  utsname kernel{};
  ::uname(&kernel);
  message.set_kernel(kernel.release);
  message.set_criu(criu_version(host.criu).value_or("?"));
  message.set_runc(Runc(host.runc).version().value_or("?"));
  return message;
}

}  // namespace godwit
