#include "agent/agent.h"

#include <grp.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "kernel/tmpfs.h"
#include "memory/write_tracker.h"
#include "migration/target_record.h"
#include "runtime/criu_fitness.h"
#include "transport/congestion_control.h"
#include "wire/protocol.h"

namespace godwit {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

// For what peers are sending at a time, all of them together.
constexpr size_t kControlMemoryMax = 3 * size_t{wire::kControlMessageBytesMax};

constexpr const char* kJournal = "/var/lib/godwit/journal";

// Where tools/bootstrap puts the CRIU it chose.
constexpr const char* kBootstrapCriu = "/opt/godwit/criu/bin/criu";

fs::path find_program(const std::string& configured, const std::string& name, const char* preferred) {
  if (!configured.empty()) return configured;
  if (preferred != nullptr && ::access(preferred, X_OK) == 0) return preferred;
  std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "";
  path += ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin";
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const fs::path candidate = fs::path(path.substr(begin, end - begin)) / name;
    if (candidate.is_absolute() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return fs::path("/usr/sbin") / name;  // missing: the pre-flight says so
}

control::Tracking tracking_of(const std::string& name) {
  if (name == "uffd-wp") return control::UFFD_WP;
  if (name == "soft-dirty") return control::SOFT_DIRTY;
  return name == "none" ? control::TRACKING_NONE : control::TRACKING_AUTO;
}

AllowedPeers names_of(const Config& config) {
  AllowedPeers names;
  for (const auto& [name, address] : config.peers) names.insert(name);
  return names;
}

Host make_host(const Config& config, const fs::path& helpers) {
  Host host;
  host.node = config.node;
  host.runc = {
      .runc = find_program(config.runtime.runc, "runc", nullptr), .root = config.runtime.root, .helpers = helpers};
  host.criu = find_program(config.runtime.criu, "criu", kBootstrapCriu);
  host.stream_keeper = helpers / "stream_keeper";
  host.pager = {.program = helpers / "godwit-pager",
                .keeper = helpers / "memory_keeper",
                .tls = config.tls,
                .peers = names_of(config),
                .allow_plain = !config.agent.data_encryption,
                .idle_limit = config.limits.idle_timeout,
                .timeouts = config.limits.peer};
  host.attacher = helpers / "attacher";
  host.lens = helpers / "lens.so";
  host.run_directory = config.agent.run_dir;
  host.journal = kJournal;
  host.stream_log_directory = config.runtime.stream_log_dir;
  host.bridge = config.network.bridge;
  host.data_encryption = config.agent.data_encryption;
  host.data_congestion_control = config.agent.data_congestion_control;
  host.image_bytes_max = config.limits.image_bytes_max;
  host.bandwidth = std::make_shared<RateLimit>(config.limits.bandwidth_max);
  host.step_timeout = config.limits.step_timeout;
  host.idle_timeout = config.limits.idle_timeout;
  host.peer = config.limits.peer;
  host.tracking = tracking_of(config.memory.tracking);
  host.hold = {.frames_max = config.network.hold_packets_max, .bytes_max = config.network.hold_bytes_max};
  host.links = config.links;
  host.hooks = {.attached = config.hooks.attached,
                .detached = config.hooks.detached,
                .rolled_back = config.hooks.rolled_back,
                .limit = config.hooks.timeout};
  host.cni = {.conf_dir = config.cni.conf_dir, .bin_dir = config.cni.bin_dir, .cache_dir = config.cni.cache_dir};
  return host;
}

// What an agent that was killed has left: tmpfs mounts in the run directory, and what a container that did not arrive
// was to have.
void remove_leftovers(const Host& host, const std::set<std::string>& kept) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(host.run_directory, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("in-") && !name.starts_with("out-")) continue;
    if (kept.contains(name)) continue;
    log::warn("removing {}, left by an agent that was killed", entry.path().string());
    if (auto given = give_back_recorded(entry.path(), host.runc); !given) log::error("{}", given.error().text());
    (void)::umount2(entry.path().c_str(), MNT_DETACH);
    (void)::rmdir(entry.path().c_str());
  }
}

bool somebody_listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  ScopedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

void set_group(const std::string& path, const std::string& group) {
  const struct group* entry = group.empty() ? nullptr : ::getgrnam(group.c_str());
  if (entry != nullptr && ::chown(path.c_str(), 0, entry->gr_gid) != 0)
    log::warn("chown {}: {}", path, std::strerror(errno));
}

void set_common(grpc::ServerBuilder& builder, const PeerTimeouts& timeouts) {
  builder.SetMaxReceiveMessageSize(wire::kControlMessageBytesMax);
  builder.SetMaxSendMessageSize(wire::kControlMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms(timeouts));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive_ms(timeouts));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::start(const Config& config, const fs::path& helpers) {
  allow_only_tls13_in_grpc();
  TRY(make_directories(config.agent.run_dir, 0750));
  TRY_ASSIGN(bool tmpfs, is_on_tmpfs(config.agent.run_dir));
  if (!tmpfs) log::warn("{} is not on a tmpfs: migrations will be refused", config.agent.run_dir);
  TRY_ASSIGN(TlsContext tls, TlsContext::load(config.tls, OwnExpired::kAccept, config.limits.peer.dead_after));
  if (std::ranges::find(tls.own_names(), config.node) == tls.own_names().end())
    return fail(config.tls.cert.string() + " is not a certificate of '" + config.node + "', as this node is called");
  if (auto good = tls.check_own(); !good) log::error("{}: no other agent will accept it", good.error().text());
  TRY_DOING("agent.data_congestion_control", check_congestion_control(config.agent.data_congestion_control));
  TRY_ASSIGN(TlsTexts texts, read_tls_files(config.tls));

  // One that has just been killed takes a moment to be gone.
  const Deadline free_by = Clock::now() + 3s;
  while (somebody_listens(config.agent.socket) && Clock::now() < free_by) std::this_thread::sleep_for(50ms);
  if (somebody_listens(config.agent.socket)) return fail("another agent serves " + config.agent.socket);
  std::unique_ptr<Agent> agent(new Agent(make_host(config, helpers), config.limits.migrations_max, tls));
  TRY(agent->read_journal());
  // Asked before a migration needs the answers; neither CRIU nor the kernel changes while the agent runs.
  if (auto fit = check_criu(agent->host_.criu); !fit) log::warn("{}", fit.error().text());
  (void)probe_tracking();
  agent->connector_ = std::make_unique<GrpcPeerConnector>(config.peers, texts, tls, config.limits.peer);
  agent->recover();
  TRY(agent->listen_for_data(config));
  TRY(agent->listen_for_peers(config, texts));
  TRY(agent->listen_for_users(config));
  return agent;
}

// Before anything of the earlier agent's is removed, and before anybody can ask for a migration.
Result<> Agent::read_journal() {
  TRY(make_directories(host_.journal));
  TRY_ASSIGN(Journal journal, godwit::read_journal(host_.journal));
  TRY_ASSIGN(const std::string boot, boot_id());
  std::set<std::string> kept;
  std::vector<JournalRecord> undone;
  for (StoredRecord& stored : journal.records) {
    const std::string id = stored.facts.id;
    TRY_ASSIGN(JournalRecord record, JournalRecord::reopen(stored.path));
    if (stored.facts.source) {
      unfinished_sources_.push_back(std::make_shared<SourceRecovery>(host_, std::move(stored), std::move(record)));
      unfinished_.push_back(unfinished_sources_.back());
    } else if (stored.state == CommitState::kPrepared && stored.facts.boot_id == boot) {
      undone.push_back(std::move(record));  // remove_leftovers() gives back what was taken
      continue;
    } else {
      kept.insert("in-" + id);
      unfinished_.push_back(std::make_shared<TargetRecovery>(host_, std::move(stored), std::move(record)));
    }
    registry_.add_unfinished(id, unfinished_.back());
  }
  for (DamagedRecord& damaged : journal.damaged) {
    log::error("{}: {}", damaged.path.string(), damaged.why);
    registry_.add_unfinished(damaged.id, make_damaged(damaged));
  }
  remove_leftovers(host_, kept);
  for (JournalRecord& record : undone) TRY(record.remove());
  return {};
}

void Agent::recover() {
  for (const auto& source : unfinished_sources_) source->use(*connector_, tls_);
  for (const auto& migration : unfinished_) {
    recoveries_.emplace_back([this, migration](const std::stop_token& stop) {
      if (migration->run(stop)) registry_.remove_unfinished(migration->status().id());
    });
  }
}

Result<> Agent::listen_for_data(const Config& config) {
  auto route = [this](const wire::Preamble& preamble, ScopedFd& socket) {
    if (auto unfinished = registry_.unfinished(preamble.migration_id)) return unfinished->pass_on(preamble, socket);
    auto migration = registry_.target(preamble.migration_id);
    return migration && migration->pass_on(preamble, socket);
  };
  auto claim = [this](const wire::Hello& hello,
                      const std::vector<std::string>& names) -> std::expected<DataHandler, wire::Refusal> {
    auto migration = registry_.target(hello.migration_id);
    if (!migration || !migration->accepts(hello, names)) return std::unexpected(wire::Refusal::kUnknownMigration);
    return [migration](std::unique_ptr<DataConnection> connection) {
      (void)migration->accept_data(std::move(connection));
    };
  };
  TRY_ASSIGN(data_, DataListener::start(tls_,
                                        {.address = config.agent.data_listen,
                                         .allowed = names_of(config),
                                         .allow_plain = !config.agent.data_encryption,
                                         .handshake_limit = config.limits.peer.handshake,
                                         .idle_limit = config.limits.idle_timeout},
                                        std::move(claim), std::move(route)));
  return {};
}

Result<> Agent::listen_for_peers(const Config& config, const TlsTexts& texts) {
  peer_service_ = std::make_unique<PeerService>(host_, registry_, names_of(config), data_->address());
  grpc::ServerBuilder builder;
  set_common(builder, host_.peer);
  // Strangers can connect: until TLS and HTTP/2 are agreed on, a connection may not last longer than on the data port.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(config.limits.peer.handshake.count()));
  int port = 0;
  // gRPC holds a message against kControlMessageBytesMax when all of it is there, and a prefix may claim 4 GiB. What
  // it takes beyond this quota makes it end calls.
  builder.SetResourceQuota(grpc::ResourceQuota("peers").Resize(kControlMemoryMax));
  builder.AddListeningPort(config.agent.listen, server_credentials(texts), &port);
  builder.RegisterService(peer_service_.get());
  peer_server_ = builder.BuildAndStart();
  if (!peer_server_ || port == 0) return fail("cannot listen at " + config.agent.listen + " (agent.listen)");
  return {};
}

Result<> Agent::listen_for_users(const Config& config) {
  socket_ = config.agent.socket;
  ::unlink(socket_.c_str());
  TRY(make_directories(fs::path(socket_).parent_path(), 0750));
  set_group(fs::path(socket_).parent_path(), config.agent.group);

  control_service_ = std::make_unique<ControlService>(host_, registry_, *connector_, tls_);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_, grpc::InsecureServerCredentials());
  builder.RegisterService(control_service_.get());
  const mode_t before = ::umask(0117);  // root and the group, from the first moment on
  control_server_ = builder.BuildAndStart();
  ::umask(before);
  if (!control_server_) return fail("cannot listen at " + socket_ + " (agent.socket)");
  set_group(socket_, config.agent.group);
  return {};
}

Agent::~Agent() {
  registry_.stop();
  recoveries_.clear();
  // Rollbacks take a moment, and a migration past its commit is better finished: each step has its own time limit.
  const Deadline deadline = Clock::now() + 30s;
  while (!registry_.idle() && Clock::now() < deadline) std::this_thread::sleep_for(10ms);
  const auto now = std::chrono::system_clock::now();
  if (control_server_) control_server_->Shutdown(now + 1s);
  if (peer_server_) peer_server_->Shutdown(now + 1s);
  if (data_) data_->stop();
  if (control_server_) ::unlink(socket_.c_str());
}

}  // namespace godwit
