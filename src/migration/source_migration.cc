#include "migration/source_migration.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "kernel/cpu_quota.h"
#include "kernel/free_memory.h"
#include "kernel/netns.h"
#include "kernel/proc.h"
#include "memory/huge_pages.h"
#include "migration/handshake.h"
#include "migration/host_figures.h"
#include "migration/own_bundles.h"
#include "migration/quiet_freeze.h"
#include "network/announce.h"
#include "network/capture.h"
#include "network/remove.h"
#include "runtime/criu_log.h"
#include "runtime/interrupted_calls.h"
#include "runtime/lens_files.h"
#include "runtime/streams.h"
#include "runtime/tcp_repair.h"
#include "wire/hello.h"
#include "wire/protocol.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// For the frozen container's sockets to send what their windows allow: 1.5 MB at 1 Gbit/s.
constexpr auto kSilentWithin = 12ms;
// A rollback must not wait for a hung CRIU for ever: the container stands still meanwhile.
constexpr auto kRunCEndsWithin = 20s;
// After the commit CRIU frees the container's memory before runC ends: 25 ms/GB, so this is over a terabyte's.
constexpr auto kSourceEndsWithin = 60s;
constexpr auto kOutcomeRetry = 500ms;
// What the target takes; the kernel puts others together in time, where it is configured to.
constexpr size_t kHugeRunsMax = 65536;
// The slowest link for which a restore is waited for: the images' last part may still be on its way.
constexpr uint64_t kBytesPerSecondMin = 1'000'000;

}  // namespace

SourceMigration::SourceMigration(Request request, const Host& host, PeerConnector& peers, const TlsContext& tls,
                                 ProgressListener& listener)
    : request_(std::move(request)), host_(host), peers_(peers), tls_(tls), listener_(listener) {}

SourceMigration::~SourceMigration() = default;

control::Report SourceMigration::run() {
  disk_bytes_before_ = disk_bytes_written();
  Step<> result = migrate();
  if (result) {
    auto hook = start_hook(host_.hooks, hook_facts_of(HookPhase::kDetached));
    await_last_page();
    if (decision() == control::SOURCE) {
      result = let_run_here();
    } else {
      finish();
    }
    if (std::string note = hook.get(); !note.empty()) report_.add_notes(note);
  } else {
    undo_.roll_back();
    if (auto first = end_there(); first && result.error().code == ECONNRESET) result = std::unexpected(*first);
    const bool moved = frozen_at_ != Clock::time_point();
    if (moved)
      if (std::string note = start_hook(host_.hooks, hook_facts_of(HookPhase::kRolledBack)).get(); !note.empty())
        report_.add_notes(note);
  }
  control::Report described = report(result);
  std::lock_guard lock(mutex_);
  files_.reset();  // it keeps the container's file systems alive
  return described;
}

Step<> SourceMigration::migrate() {
  if (auto step = connect(); !step) return step;
  {
    const Turns::Turn turn = take_turn(*host_.preparations, "prepares");
    if (auto step = check(); !step) return step;
    if (auto step = prepare(); !step) return step;
  }
  std::optional<Turns::Turn> turn;
  if (auto step = rounds(turn); !step) return step;
  if (!turn) turn = prepare_to_freeze();
  if (auto step = freeze(); !step) return step;
  if (auto step = dump_and_transfer(); !step) return step;
  if (auto step = restore_there(); !step) return step;
  if (auto step = commit(); !step) return step;
  undo_.commit();  // the container runs on the target
  return {};
}

// One that hangs does not hold up others for long.
Turns::Turn SourceMigration::take_turn(Turns& turns, const std::string& what) {
  constexpr auto kTurnWithin = 10s;
  if (Turns::Turn turn = turns.try_take()) return turn;
  begin_phase("turn", "waiting while another container " + what);
  return turns.take(in(kTurnWithin), [this] { return cancelled(); });
}

HookFacts SourceMigration::hook_facts_of(HookPhase phase) const {
  HookFacts facts = hook_facts(phase, request_.container, request_.id, facts_.network);
  facts.node = host_.node;
  facts.other = request_.target;
  facts.netns = facts_.spec.netns_path.value_or("");
  return facts;
}

// --- Before anything is touched ---------------------------------------------------------------------------

Step<> SourceMigration::connect() {
  begin_phase("connect", "connecting to " + request_.target);
  auto facts = collect_source_facts(host_, request_.container);
  if (!facts) return failed_here("request", std::move(facts.error()));
  facts_ = std::move(*facts);
  container_seen_ = true;
  if (request_.target == host_.node)
    return failed_here("request", Error("the container is on " + host_.node + " already"));

  auto channel = peers_.connect(request_.target, in(host_.step_timeout));
  if (!channel) return failed_here("connect", std::move(channel.error()));
  control_ = std::move(*channel);
  auto reply = ask("connect", hello_message(host_, request_.id), host_.step_timeout);
  if (!reply) return std::unexpected(std::move(reply.error()));
  if (auto matched = check_hello_reply(reply->hello(), request_.target); !matched)
    return failed_here("connect", std::move(matched.error()));
  greeting_ = reply->hello();
  return {};
}

Step<> SourceMigration::check() {
  begin_phase("check", "checking both hosts");
  peer::SourceMessage request;
  *request.mutable_preflight() = preflight_message(host_, facts_);
  auto reply = ask("check", request, host_.step_timeout);
  if (!reply) return std::unexpected(std::move(reply.error()));

  no_userfaultfd_ = reply->preflight().no_userfaultfd();
  StepFailure failure{"check", host_.node, "", {}};
  for (const peer::Problem& found : facts_.problems)
    failure.cause += (failure.cause.empty() ? "" : "; ") + found.text();
  for (const peer::Problem& found : reply->preflight().problems()) {
    if (facts_.problems.empty()) failure.host = request_.target;
    failure.cause += (failure.cause.empty() ? "" : "; ") + found.text();
  }
  if (!failure.cause.empty()) return std::unexpected(std::move(failure));
  return {};
}

// --- Prepared while the container runs --------------------------------------------------------------------

Step<> SourceMigration::prepare() {
  begin_phase("prepare", "preparing " + request_.target);
  auto freezer = CgroupFreezer::open(facts_.container.freezer_cgroup);
  if (!freezer) return failed_here("prepare", std::move(freezer.error()));
  freezer_ = std::move(*freezer);
  if (auto step = start_attacher(); !step) return step;
  if (auto step = prepare_memory(); !step) return step;
  if (auto step = prepare_files(); !step) return step;
  if (auto step = prepare_here(); !step) return step;

  peer::SourceMessage request;
  peer::Prepare& prepare = *request.mutable_prepare();
  *prepare.mutable_network() = facts_.network;
  prepare.set_simple_cgroups(facts_.simple_cgroups);
  prepare.set_page_streams(memory_ ? memory_->streams() : 0);
  prepare.set_memory_in_freeze(!memory_ || memory_->mode() == control::COLD);
  if (files_) files_->declare(prepare);
  for (const peer::Stream& stream : facts_.streams) *prepare.add_streams() = stream;
  auto reply = ask("prepare", request, host_.step_timeout);
  if (!reply) return std::unexpected(std::move(reply.error()));
  for (const std::string& note : reply->prepare().notes()) report_.add_notes(note);
  agree_on_files(reply->prepare());

  if (auto step = open_connections(); !step) return step;
  auto ready = bridge_->await(CriuPoint::kPreDump, in(host_.step_timeout));
  if (!ready) return criu_failed("prepare", std::move(ready.error()));
  if (!memory_) warm_free_memory(facts_.memory_bytes);  // the images'
  return {};
}

// Rounds stop the container's processes for moments.
Step<> SourceMigration::start_attacher() {
  if (request_.options.mode() == control::COLD) return {};
  auto attacher = Attacher::start(
      {.program = host_.attacher, .cgroup = facts_.container.freezer_cgroup, .owner = work_directory().string()});
  if (!attacher) return failed_here("prepare", std::move(attacher.error()));
  attacher_ = std::move(*attacher);
  return {};
}

// Where CRIU cannot be kept from dumping memory, or processes cannot have it later, all of it goes with its images.
Step<> SourceMigration::prepare_memory() {
  if (auto fit = check_lens(host_.lens, host_.criu); !fit) {
    report_.add_notes("memory went with CRIU's images, in mode cold: " + fit.error().text());
    return {};
  }
  if (!no_userfaultfd_.empty()) {
    report_.add_notes(fmt::format("memory went with CRIU's images, in mode cold: {} cannot fill it in later: {}",
                                  request_.target, no_userfaultfd_));
    return {};
  }
  control::MigrateRequest options = request_.options;
  options.set_tracking(tracking_asked());
  auto memory = SourceMemory::create({.options = options,
                                      .cgroup = facts_.container.freezer_cgroup,
                                      .attacher = attacher_.get(),
                                      .first_process = facts_.container.pid,
                                      .memory_bytes = facts_.memory_bytes,
                                      .listener = &listener_,
                                      .cancelled = &cancelled_});
  if (!memory) return failed_here("prepare", std::move(memory.error()));
  std::lock_guard lock(mutex_);
  memory_ = std::move(*memory);
  return {};
}

control::Tracking SourceMigration::tracking_asked() const {
  const control::Tracking asked = request_.options.tracking();
  return asked == control::TRACKING_AUTO ? host_.tracking : asked;
}

// Without the lens CRIU dumps all shared memory; in a user namespace what restores it cannot ask for it.
Step<> SourceMigration::prepare_files() {
  FileSending::Settings settings{
      .first_process = facts_.container.pid,
      .cgroup = facts_.container.freezer_cgroup,
      .binds = {},
      .shared_memory = memory_ != nullptr && !facts_.spec.own_userns,
      .track = tracking_asked() != control::SOFT_DIRTY,
      .open_userfaultfd = [this](pid_t pid,
                                 Deadline deadline) { return attacher_->open_userfaultfd_of(pid, deadline); },
      .hold_still = [this] { return attacher_->hold(); },
      .let_go = [this] { return attacher_->let_go(); }};
  for (const BindMount& bind : facts_.spec.bind_mounts) settings.binds.push_back(bind.destination);
  std::vector<std::string> notes;
  auto sending = FileSending::create(std::move(settings), notes);
  if (!sending) return failed_here("prepare", std::move(sending.error()));
  for (const std::string& note : notes) report_.add_notes(note);
  std::lock_guard lock(mutex_);
  files_ = std::move(*sending);
  return {};
}

void SourceMigration::agree_on_files(const peer::PrepareReply& reply) {
  if (!files_ || files_->agree(reply)) return;
  std::lock_guard lock(mutex_);
  files_.reset();
}

Step<> SourceMigration::prepare_here() {
  auto netns = open_netns(*facts_.spec.netns_path);
  if (!netns) return failed_here("prepare", std::move(netns.error()));
  auto detachment = network::PortDetachment::prepare(facts_.ports, netns->get());
  if (!detachment) return failed_here("prepare", std::move(detachment.error()));
  detachment_.emplace(std::move(*detachment));
  auto hold = network::FrameHold::prepare(facts_.ports, facts_.network, request_.id, host_.hold);
  if (!hold) return failed_here("prepare", std::move(hold.error()));
  hold_.emplace(std::move(*hold));
  for (const std::string& note : hold_->notes()) report_.add_notes(note);
  sockets_.prepare(netns->get(), facts_.ports, request_.id);
  auto mute = network::LoopbackMute::prepare(netns->get());
  if (!mute) return failed_here("prepare", std::move(mute.error()));
  loopback_mute_.emplace(std::move(*mute));
  if (auto begun = begin_journal(); !begun) return failed_here("prepare", std::move(begun.error()));
  return start_checkpoint();
}

// What an agent needs that is started after this one was killed.
Result<> SourceMigration::begin_journal() {
  JournalFacts facts{.source = true,
                     .id = request_.id,
                     .container = request_.container,
                     .peer = request_.target,
                     .boot_id = "",
                     .netns = *facts_.spec.netns_path,
                     .bundle = "",
                     .freezer = facts_.container.freezer_cgroup,
                     .ports = {},
                     .cpu_quota = {},
                     .bandwidth_max = request_.options.bandwidth_max(),
                     .network = detachment_->record()};
  if (facts_.container.bundle == own_bundle_directory(host_, request_.container))
    facts.bundle = facts_.container.bundle;
  for (const network::HostPort& port : facts_.ports)
    if (!port.macvlan)
      facts.ports.push_back({.name = port.name, .index = port.index, .bridge = port.bridge, .settings = ""});
  if (auto quota = CpuQuota::open(facts_.container.pid)) facts.cpu_quota = quota->to_restore();
  TRY_ASSIGN(auto record, JournalRecord::begin(host_.journal, std::move(facts)));
  journal_.emplace(std::move(record));
  undo_.add("end the journal's record", [this] {
    if (auto removed = journal_->remove(); !removed) log::error("{}", removed.error().text());
  });
  return {};
}

// CRIU starts while the container runs and is held before its first step.
Step<> SourceMigration::start_checkpoint() {
  const auto directory = work_directory();
  auto tmpfs = ScopedTmpfs::mount(directory, image_tmpfs_bytes(facts_.memory_bytes));
  if (!tmpfs) return failed_here("prepare", std::move(tmpfs.error()));
  work_.emplace(std::move(*tmpfs));
  const auto images = directory / "images";
  const auto work = directory / "work";
  for (const auto& made : {make_directories(images), make_directories(work), make_directories(directory / "lens")})
    if (!made) return failed_here("prepare", made.error());

  auto log = open_file(work / "runc.log", O_WRONLY | O_CREAT | O_APPEND);
  if (!log) return failed_here("prepare", std::move(log.error()));
  auto bridge = CriuBridge::start({
      .socket = directory / "criu.sock",
      .criu = host_.criu,
      .images_directory = images,
      .work_directory = work,
      .descriptors = {},
      .edit_options =
          [this](criu::Options& options) {
            declare_streams(facts_.streams, options);
            use_common_criu_options(facts_.simple_cgroups, options);
            if (files_) files_->declare(options);
          },
      .hold_at = {CriuPoint::kPreDump, CriuPoint::kPostDump},
      .on_failure = [this] { lose_criu(); },
      .lens = memory_ ? std::optional(Lens{host_.lens, directory / "lens"}) : std::nullopt,
  });
  if (!bridge) return failed_here("prepare", std::move(bridge.error()));
  {
    std::lock_guard lock(mutex_);
    bridge_ = std::move(*bridge);
  }
  auto checkpoint = Runc(host_.runc)
                        .start_checkpoint({.name = request_.container,
                                           .images = images,
                                           .work = work,
                                           .bridge_socket = directory / "criu.sock",
                                           .log_fd = log->get(),
                                           .private_tmp = can_do_without_tmp(facts_.spec, facts_.container.bundle)});
  if (!checkpoint) return failed_here("prepare", std::move(checkpoint.error()));
  checkpoint_.emplace(std::move(*checkpoint));
  bridge_->watch_runc(checkpoint_->pidfd());
  undo_.add("let the container go on here", [this] { resume_here(); });
  return {};
}

Result<std::unique_ptr<DataConnection>> SourceMigration::open_connection(uint16_t channel) {
  const wire::Hello hello{.channel = channel,
                          .want_plain = !host_.data_encryption,
                          .migration_id = request_.id,
                          .token = greeting_.data_token()};
  TRY_ASSIGN(auto connection,
             DataConnection::connect(tls_, greeting_.data_address(), request_.target, hello, in(host_.step_timeout)));
  connection->set_idle_limit(host_.idle_timeout);
  TRY(connection->use_congestion_control(host_.data_congestion_control));
  return connection;
}

Step<> SourceMigration::open_connections() {
  auto connection = open_connection(0);
  if (!connection) return failed_here("connect", std::move(connection.error()));
  auto limit = std::make_shared<RateLimit>(request_.options.bandwidth_max(), host_.bandwidth);
  if (memory_)
    if (auto step = open_page_connections(limit); !step) return step;
  if (files_)
    if (auto step = open_file_connection(limit); !step) return step;
  // Its thread looks at what the others have sent: they are there before it.
  auto sending =
      std::make_unique<ImageSending>(work_->path() / "images", std::move(*connection), [this](uint64_t bytes) {
        image_bytes_ = bytes;
        tell_bytes();
      });
  std::lock_guard lock(mutex_);
  sending_ = std::move(sending);
  return {};
}

// Channels 1 to N carry pages, N+1 requests and answers.
Step<> SourceMigration::open_page_connections(std::shared_ptr<RateLimit> limit) {
  PageSending::Settings settings;
  settings.limit = std::move(limit);
  for (uint16_t channel = 1; channel <= memory_->streams() + 1; ++channel) {
    auto connection = open_connection(channel);
    if (!connection) return failed_here("connect", std::move(connection.error()));
    if (channel <= memory_->streams()) {
      settings.streams.push_back(std::move(*connection));
    } else {
      settings.requests = std::move(*connection);
    }
  }
  settings.progress = [this] { tell_bytes(); };
  std::lock_guard lock(mutex_);
  memory_->use(std::move(settings));
  return {};
}

Step<> SourceMigration::open_file_connection(std::shared_ptr<RateLimit> limit) {
  auto connection = open_connection(wire::kFilesChannel);
  if (!connection) return failed_here("connect", std::move(connection.error()));
  std::lock_guard lock(mutex_);
  files_->use(std::move(*connection), std::move(limit));
  return {};
}

// From sending threads.
void SourceMigration::tell_bytes() {
  bytes_sent_ = image_bytes_ + (memory_ ? memory_->bytes_on_wire() : 0);
  const int64_t now = Clock::now().time_since_epoch() / 1ms;
  int64_t told = told_bytes_at_;
  if (now - told < 100 || !told_bytes_at_.compare_exchange_strong(told, now)) return;
  listener_.bytes_sent(bytes_sent_, facts_.memory_bytes);
}

// On the bridge's thread. If CRIU died, what it had stopped runs, with sockets that do not work: it is stopped again at
// once. The target gives up when the images end.
void SourceMigration::lose_criu() {
  std::lock_guard lock(mutex_);
  if (bridge_ && bridge_->died() && switching_over_) {
    auto frozen = freezer_->freeze(in(1s));
    if (!frozen) log::error("migration {}: {}", request_.id, frozen.error().text());
  }
  if (sending_) sending_->cancel();
  if (memory_) memory_->cancel();
  if (files_) files_->cancel();
}

// An error if CRIU, which must hold the container here until the commit, is gone; a cancel is noticed elsewhere.
Step<> SourceMigration::check_criu() {
  if (cancelled()) return {};
  if (auto why = bridge_->failure()) return criu_failed("hold", Error(*why));
  return {};
}

// --- Rounds: memory goes while the container runs ---------------------------------------------------------

Result<> SourceMigration::look_for_socket_locks() {
  if (!memory_) return {};
  TRY_ASSIGN(const auto processes, proc::processes_in_cgroup(facts_.container.freezer_cgroup));
  return sockets_.look_for_locks(processes, work_->path() / "lens");
}

Step<> SourceMigration::rounds(std::optional<Turns::Turn>& turn) {
  if (!memory_ && !files_) return {};
  begin_phase("rounds", "sending memory while the container runs");
  const bool files_first = files_ && request_.options.mode() != control::COLD;
  auto done = look_for_socket_locks();
  if (files_first && done) done = files_->send_first();
  if (files_first && done) files_->begin_rounds();
  if (files_ && !files_first) files_->look();
  if (memory_ && done)
    done = memory_->run_rounds([&] {
      const Stopwatch watch;
      turn = prepare_to_freeze();
      return watch.ms();
    });
  if (files_first && done) done = files_->end_rounds();
  if (auto step = check_criu(); !step) return step;
  if (!done) return failed_here("rounds", std::move(done.error()));
  if (attacher_ && attacher_->is_lost())  // so memory is lost sight of
    return failed_here("rounds", Error("attacher, which stops the container's processes for moments, died or hung"));
  return {};
}

Turns::Turn SourceMigration::prepare_to_freeze() {
  Turns::Turn turn = take_turn(*host_.switch_overs, "switches over");
  // What fails here fails again with the images, which tell it.
  (void)sending_->open_the_way(memory_ ? memory_->bytes_per_ms() : 0);
  (*report_.mutable_figures())["filler_bytes"] = static_cast<double>(sending_->filler_bytes());
  return turn;
}

// --- The switch-over: the container stands still ----------------------------------------------------------

Step<> SourceMigration::freeze() {
  if (cancelled()) return failed_here("prepare", Error("cancelled", ECANCELED));
  if (attacher_) attacher_->end();  // only this agent, and by the journal the next one, thaws what is frozen now
  begin_phase("freeze", "freezing the container");
  switching_over_ = true;
  frozen_at_ = Clock::now();
  if (auto noted = journal_->note(CommitState::kFrozen); !noted) return failed_here("freeze", std::move(noted.error()));
  auto frozen = freeze_quietly(*freezer_, *hold_, sockets_.watch());
  if (!frozen) return failed_here("freeze", std::move(frozen.error()));
  frozen_at_ = frozen->frozen_at;
  for (auto& note : frozen->notes) report_.add_notes(std::move(note));
  if (auto held = hold_->begin(*detachment_); !held) return failed_here("freeze", std::move(held.error()));
  if (auto muted = loopback_mute_->begin(); !muted)
    report_.add_notes("connections of the container to itself may break: " + muted.error().text());
  silence_ = std::async(std::launch::async, [this] { detachment_->await_silence(frozen_at_ + kSilentWithin); });
  if (files_) files_->freeze();
  auto begun = memory_ ? memory_->freeze(work_->path() / "lens") : Result<>();
  if (files_ && begun) begun = write_lens_objects(work_->path() / "lens", files_->owned_objects());
  if (auto step = check_criu(); !step) return step;
  if (!begun) return failed_here("freeze", std::move(begun.error()));
  return {};
}

// The container's port leaves the bridge, the first time. Not before its sockets have sent what their windows allow,
// and as late as that may be: the kernel drops what it finds queued behind a port that leaves, and a socket that waits
// in vain for acknowledgements tries again (a tail loss probe). And not later than CRIU looks at them: what they send
// after it, such as a delayed acknowledgement, has a later timestamp than it will have on the target, and the peer
// would refuse segments (PAWS).
Result<> SourceMigration::leave_bridge() {
  std::call_once(left_bridge_once_, [this] {
    silence_.wait();
    left_bridge_ = detachment_->detach();
  });
  return left_bridge_;
}

// Without the lens nobody tells when CRIU comes to the sockets.
Result<> SourceMigration::watch_socket_dump() {
  if (!memory_) return leave_bridge();
  TRY_ASSIGN(socket_dump_, SocketDumpWatch::start(work_->path() / "lens", [this] { (void)leave_bridge(); }));
  return {};
}

Step<> SourceMigration::dump_and_transfer() {
  begin_phase("dump", "dumping, sending what is written");
  if (auto watched = watch_socket_dump(); !watched) return failed_here("dump", std::move(watched.error()));
  bridge_->release(CriuPoint::kPreDump);
  auto netns = open_netns(*facts_.spec.netns_path);
  if (!netns) return failed_here("dump", std::move(netns.error()));
  if (auto now = network::capture_volatile(netns->get(), facts_.network); !now)
    return failed_here("dump", std::move(now.error()));
  const auto processes = proc::processes_in_cgroup(facts_.container.freezer_cgroup);
  if (!processes) return failed_here("dump", processes.error());
  auto sockets = std::async(std::launch::async, [this, &netns, &processes] {
    return sockets_.read(*processes, netns->get(), facts_.network, [this] { return leave_bridge(); });
  });
  auto streams = find_streams(facts_.container.pid, facts_.spec.terminal);
  if (streams) facts_.streams = std::move(*streams);

  const auto limit = host_.step_timeout + std::chrono::seconds(facts_.memory_bytes / kBytesPerSecondMin);
  auto dumped = bridge_->await(CriuPoint::kPostDump, in(limit));
  if (!dumped) return criu_failed("dump", std::move(dumped.error()));
  memory_peak_bytes_ = std::max(memory_peak_bytes_, work_->used_bytes());
  // CRIU had thawed the cgroup and holds the tasks by ptrace; from here on they stand still even if CRIU dies.
  if (auto frozen = freezer_->freeze(in(10s)); !frozen) return failed_here("dump", std::move(frozen.error()));
  auto states = sockets.get();
  if (!states) return failed_here("dump", std::move(states.error()));
  if (auto added = SourceSockets::add_to_images(*processes, std::move(*states), work_->path() / "images"); !added)
    return failed_here("dump", std::move(added.error()));
  if (auto repeated = repeat_interrupted_calls(work_->path() / "images"); !repeated)
    return failed_here("dump", std::move(repeated.error()));
  if (const size_t forgotten = sockets_.remembered().forgotten; forgotten > 0)
    report_.add_notes(network::note_of_forgotten(forgotten));
  sending_->dump_is_complete();
  return check_criu();
}

Step<> SourceMigration::restore_there() {
  begin_phase("restore", "sending the rest, restoring on " + request_.target);
  peer::SourceMessage request;
  peer::SwitchOver& switch_over = *request.mutable_switch_over();
  *switch_over.mutable_network() = facts_.network;
  switch_over.mutable_network()->clear_sysctls();
  for (const peer::Stream& stream : facts_.streams) *switch_over.add_streams() = stream;
  const auto& remembered = sockets_.remembered().known;
  switch_over.mutable_remembered()->Assign(remembered.begin(), remembered.end());
  switch_over.set_await_pages(memory_ && memory_->awaits_pages());
  size_t huge_runs = 0;
  if (memory_)
    for (const auto& [space, ranges] : memory_->huge_pages()) {
      peer::HugeMemory& huge = *switch_over.add_huge();
      huge.set_space(space);
      for (const PageRange& range : ranges) {
        if (++huge_runs > kHugeRunsMax) break;
        huge.add_starts(range.start.value);
        huge.add_pages(range.pages);
      }
    }
  // While the target restores.
  auto alone = std::async(std::launch::async, [this] { return leave_bridge(); });  // if it has no connections
  auto bound = std::async(std::launch::async, [cgroup = facts_.container.freezer_cgroup, first = facts_.container.pid] {
    return find_bound_threads(cgroup, first);
  });
  const auto limit = host_.step_timeout + std::chrono::seconds(facts_.memory_bytes / kBytesPerSecondMin);
  auto reply = ask("restore", request, limit);
  if (auto found = bound.get()) bound_threads_ = std::move(*found);
  auto left = alone.get();
  if (auto step = check_criu(); !step) return step;
  if (files_ && files_->failure() && !cancelled()) return failed_here("transfer", *files_->failure());
  if (!reply) return std::unexpected(std::move(reply.error()));
  if (!left) return failed_here("restore", std::move(left.error()));
  if (files_)
    if (auto sent = files_->finish(); !sent) return failed_here("transfer", std::move(sent.error()));
  if (auto sent = sending_->finish(); !sent) return failed_here("transfer", std::move(sent.error()));
  note_shared_memory(sending_->memory());
  split_phase("transfer", reply->switch_over().receive_ms());
  (*report_.mutable_figures())["restore_ms"] = reply->switch_over().restore_ms();
  return {};
}

// All other memory is godwit's.
void SourceMigration::note_shared_memory(const ImageSending::Memory& memory) {
  constexpr uint64_t kWorthSaying = uint64_t{1} << 20;
  if (!memory_) return;
  (*report_.mutable_figures())["shared_frozen_bytes"] = static_cast<double>(memory.bytes);
  (*report_.mutable_figures())["shared_frozen_ms"] = memory.ms;
  if (memory.bytes < kWorthSaying) return;
  report_.add_notes(
      fmt::format("{:.1f} MiB of memory that CRIU carries (System V shared memory, huge pages, locked memory, pages of "
                  "files) went while the container stood still, in {:.1f} ms",
                  static_cast<double>(memory.bytes) / (1 << 20), memory.ms));
}

// From the first byte of this message on, only the target may run the container.
Step<> SourceMigration::commit() {
  {
    std::lock_guard lock(mutex_);
    if (cancelled()) return failed_here("restore", Error("cancelled", ECANCELED));
    if (auto noted = journal_->note(CommitState::kCommitting); !noted)
      return failed_here("resume", std::move(noted.error()));
    committing_ = true;
  }
  begin_phase("resume", "resuming on " + request_.target);
  peer::SourceMessage request;
  for (std::string& frame : hold_->take(wire::kHeldBytesPerMessage))
    request.mutable_commit()->add_frames(std::move(frame));
  for (const BoundThread& thread : bound_threads_) {
    peer::BoundThread& entry = *request.mutable_commit()->add_bound();
    entry.mutable_thread()->Assign(thread.thread.begin(), thread.thread.end());
    entry.set_cpus(thread.cpus);
  }
  request.mutable_commit();
  auto reply = control_->call(request, in(host_.step_timeout));
  report_.set_downtime_ms(ms_between(frozen_at_, Clock::now()));
  if (reply && reply->has_commit()) {
    (*report_.mutable_figures())["attach_ms"] = reply->commit().attach_ms();
    (*report_.mutable_figures())["resume_ms"] = reply->commit().resume_ms();
    return {};
  }
  // The target says itself that nothing of the container has run there and that it has been removed.
  if (reply && reply->has_failure())
    return std::unexpected(StepFailure{reply->failure().step(),
                                       request_.target,
                                       reply->failure().cause(),
                                       {reply->failure().log().begin(), reply->failure().log().end()}});
  if (ask_for_outcome()) return {};
  report_.set_downtime_ms(0);
  return std::unexpected(StepFailure{
      "resume", request_.target, "the link was lost, and " + request_.target + " has not run the container", {}});
}

bool SourceMigration::ask_for_outcome() {
  begin_phase("outcome", "the link was lost at the commit; asking " + request_.target +
                             " for the outcome. The container stays frozen here until it is known");
  log::warn("migration {}: outcome unknown, asking {}", request_.id, request_.target);
  for (;;) {
    if (auto decided = decision()) return decided == control::TARGET;
    auto outcome = peers_.outcome(request_.target, request_.id, request_.container, in(host_.peer.answer));
    if (outcome && outcome->outcome() == peer::OutcomeReply::RUNNING) return true;
    if (outcome && outcome->outcome() == peer::OutcomeReply::ABORTED) return false;
    std::this_thread::sleep_for(kOutcomeRetry);
  }
}

// --- After the commit -------------------------------------------------------------------------------------

// The container runs on the target; pages are still on their way or not yet in their place. The copy here has what is
// missing there, so it stays until nothing is, however long the link is away.
void SourceMigration::await_last_page() {
  if (auto noted = journal_->note(CommitState::kCommitted); !noted) report_.add_notes(noted.error().text());
  if (!memory_) return;
  memory_->switched_over();
  begin_phase("pages", "the container runs on " + request_.target + "; the rest of its memory follows");
  bool paused = false;
  while (!decision()) {
    auto left = pages_left();
    if (!left && !memory_->failure()) {  // its agent is away, and its pager is not
      std::this_thread::sleep_for(kOutcomeRetry);
      continue;
    }
    const bool stuck = !left || left->paused();
    if (stuck && !paused)
      begin_phase("postcopy-paused", "the link to " + request_.target +
                                         " is lost and memory is still owed; the copy here "
                                         "stays frozen until the link is back");
    if (stuck) {
      paused = !left || !resume_pages();
      if (paused) std::this_thread::sleep_for(kOutcomeRetry);
    } else if (left->done()) {
      return note_last_page(*left);
    } else {
      if (!control_) std::this_thread::sleep_for(kOutcomeRetry);
      listener_.pages_left(left->owed() + left->waiting());
    }
  }
}

// Over the control connection as long as it is there, by questions after that.
Result<peer::PagesLeftReply> SourceMigration::pages_left() {
  if (control_) {
    peer::SourceMessage request;
    for (std::string& frame : hold_->take(wire::kHeldBytesPerMessage))
      request.mutable_pages_left()->add_frames(std::move(frame));
    request.mutable_pages_left();
    auto reply = control_->call(request, in(host_.step_timeout));
    if (reply && reply->has_pages_left()) return reply->pages_left();
    report_.add_notes("the link was lost while memory was still to follow");
    control_.reset();
  }
  TRY_ASSIGN(const peer::OutcomeReply outcome,
             peers_.outcome(request_.target, request_.id, request_.container, in(host_.peer.answer)));
  if (outcome.outcome() == peer::OutcomeReply::ABORTED) {  // an operator has taken the copy there away
    std::lock_guard lock(mutex_);
    decision_ = control::SOURCE;
  }
  if (!outcome.has_pages()) return fail(request_.target + " does not know of the memory that is owed");
  return outcome.pages();
}

bool SourceMigration::resume_pages() {
  auto connection = open_connection(static_cast<uint16_t>(memory_->streams() + 1));
  if (!connection) return false;
  memory_->resume(std::move(*connection));
  begin_phase("pages", "the link is back; the rest of the memory follows");
  return true;
}

void SourceMigration::note_last_page(const peer::PagesLeftReply& left) {
  control::PostCopy& postcopy = *report_.mutable_postcopy();
  postcopy.set_pages(memory_->awaits_pages() ? 0 : memory_->owed_pages());
  postcopy.set_faults(left.faults());
  postcopy.set_faults_remote(left.faults_remote());
  postcopy.set_ms(left.ms());
  postcopy.set_fault_p50_us(left.fault_p50_us());
  postcopy.set_fault_p99_us(left.fault_p99_us());
  postcopy.set_fault_max_us(left.fault_max_us());
}

// The container runs on the target. What fails here is a note in the report, no more.
void SourceMigration::finish() {
  begin_phase("clean-up", "removing the source's copy");
  while (control_ && hold_->bytes_waiting() > wire::kHeldBytesPerMessage) (void)pages_left();
  peer::SourceMessage request;
  for (std::string& frame : hold_->take(wire::kHeldBytesPerMessage))
    request.mutable_finish()->add_frames(std::move(frame));
  request.mutable_finish();
  auto reply = control_ ? control_->call(request, in(host_.step_timeout))
                        : Result<peer::TargetMessage>(fail("the link was lost"));
  if (reply && reply->has_finish()) {
    for (const std::string& note : reply->finish().notes()) report_.add_notes(note);
    for (const peer::Figure& figure : reply->finish().figures())
      (*report_.mutable_figures())["target_" + figure.name()] = figure.value();
  }

  if (auto thawed = freezer_->thaw(); !thawed) report_.add_notes(thawed.error().text());  // frozen tasks cannot die
  bridge_->release(CriuPoint::kPostDump);  // CRIU kills the copy, runC forgets the container
  auto ended = checkpoint_->wait_until(in(kSourceEndsWithin));
  if (!ended || !*ended) {
    report_.add_notes("runc checkpoint did not end on " + host_.node + " and was killed");
    checkpoint_->kill();
  }
  if (auto removed = Runc(host_.runc).remove(request_.container); !removed)
    report_.add_notes("the container could not be removed from " + host_.node + ": " + removed.error().text());
  const network::HoldCount held = hold_->count();
  (*report_.mutable_figures())["frames_held"] = static_cast<double>(held.frames_held);
  (*report_.mutable_figures())["frames_dropped"] = static_cast<double>(held.frames_dropped);
  if (held.frames_dropped > 0)
    report_.add_notes(
        fmt::format("{} of {} held packets were dropped, the oldest first: network.hold_bytes_max or "
                    "network.hold_packets_max on {} is too small",
                    held.frames_dropped, held.frames_held, host_.node));
  hold_->stop();
  detachment_->commit();
  remove_network();
  if (auto removed = journal_->remove(); !removed) report_.add_notes(removed.error().text());
  if (!reply || !reply->has_finish())
    peers_.forget(request_.target, request_.id, request_.container, in(host_.peer.answer));
  std::error_code error;
  const auto own_bundle = own_bundle_directory(host_, request_.container);
  if (facts_.container.bundle == own_bundle) std::filesystem::remove_all(own_bundle, error);
}

// An operator vouches that the copy on the target does not run and will not.
Step<> SourceMigration::let_run_here() {
  control_.reset();
  resume_here();
  if (auto removed = journal_->remove(); !removed) report_.add_notes(removed.error().text());
  report_.set_downtime_ms(0);
  return failed_here("pages", Error("an operator decided that the copy on " + host_.node + " goes on"));
}

std::optional<control::Side> SourceMigration::decision() const {
  std::lock_guard lock(mutex_);
  return decision_;
}

Result<std::string> SourceMigration::resolve(control::Side side) {
  std::lock_guard lock(mutex_);
  if (over_) return fail("migration " + request_.id + " is over: " + report_.outcome());
  if (phase_ != "outcome" && phase_ != "postcopy-paused")
    return fail("migration " + request_.id + " goes on by itself: " + phase_);
  decision_ = side;
  return "the copy on " + host_.node + (side == control::SOURCE ? " goes on" : " is removed");
}

void SourceMigration::remove_network() {
  for (const peer::CniAttachment& attachment : facts_.cni)
    if (auto released = network::release_cni(host_.cni, attachment, *facts_.spec.netns_path); !released)
      report_.add_notes(released.error().text());
  for (const network::HostPort& port : facts_.ports) {
    if (port.macvlan) continue;  // its parent is the host's
    if (auto removed = network::remove_link(port.index, port.name); !removed) report_.add_notes(removed.error().text());
  }
  if (auto removed = remove_named_netns(*facts_.spec.netns_path); !removed) report_.add_notes(removed.error().text());
}

void SourceMigration::give_up_memory() {
  HugeRanges split = memory_->split_huge_pages();
  memory_->give_up();
  if (split.empty()) return;
  host_.afterwards->start([split = std::move(split)](const std::stop_token& stop) {
    collapse_huge_pages(split, [&] { return stop.stop_requested(); });
  });
}

// Undo, from any point after CRIU was started: what was stopped goes on, and nothing of the migration is left. CRIU
// first lets the tasks go and puts the cgroup back as it found it, which is frozen; then they are thawed; then their
// network is theirs again, with the frames that came meanwhile.
void SourceMigration::resume_here() {
  if (sending_) sending_->cancel();
  if (memory_) memory_->cancel();
  if (files_) files_->cancel();
  bridge_->refuse();
  auto ended = checkpoint_->wait_until(in(kRunCEndsWithin));
  if (!ended || !*ended) {
    log::error("migration {}: runc checkpoint hangs and is killed", request_.id);
    checkpoint_->kill();
  }
  bridge_->await_end(in(kRunCEndsWithin));
  if (bridge_->died()) end_repair_here();
  if (memory_) give_up_memory();
  if (files_) files_->end_tracking();
  if (auto heard = loopback_mute_->end(); !heard) log::error("migration {}: {}", request_.id, heard.error().text());
  if (auto thawed = freezer_->thaw(); !thawed) log::error("migration {}: {}", request_.id, thawed.error().text());
  socket_dump_.reset();
  if (silence_.valid()) silence_.wait();
  if (auto back = hold_->give_back(*detachment_); !back)
    log::error("migration {}: {}", request_.id, back.error().text());
  announce_here();
}

// Tells the target that it is over. What it had met before, if it had: all that is seen of that here may be that it
// closed a connection.
std::optional<StepFailure> SourceMigration::end_there() {
  if (!control_) return std::nullopt;
  peer::SourceMessage request;
  request.mutable_abort()->set_reason(cancelled() ? "cancelled" : "failed on the source");
  const auto reply = control_->call(request, in(host_.peer.answer));
  if (cancelled() || !reply || !reply->abort().has_failure()) return std::nullopt;
  return failed_there(reply->abort().failure());
}

// The target may have told the LAN that the addresses are there.
void SourceMigration::announce_here() {
  auto netns = open_netns(*facts_.spec.netns_path);
  auto announced = netns ? network::announce_again(netns->get()) : Result<>(std::unexpected(netns.error()));
  if (!announced) log::error("migration {}: {}", request_.id, announced.error().text());
}

void SourceMigration::end_repair_here() {
  auto processes = proc::processes_in_cgroup(facts_.container.freezer_cgroup);
  auto ended = processes ? end_tcp_repair(*processes) : Result<>(std::unexpected(processes.error()));
  if (!ended) log::error("migration {}: {}", request_.id, ended.error().text());
}

// --- Common -----------------------------------------------------------------------------------------------

bool SourceMigration::cancel() {
  std::lock_guard lock(mutex_);
  if (committing_ || over_) return false;
  cancelled_ = true;
  if (bridge_) bridge_->refuse();
  if (sending_) sending_->cancel();  // the target then gives up waiting for images
  if (memory_) memory_->cancel();
  if (files_) files_->cancel();
  return true;
}

Step<peer::TargetMessage> SourceMigration::ask(const std::string& step, const peer::SourceMessage& request,
                                               std::chrono::milliseconds limit) {
  if (cancelled()) return failed_here(step, Error("cancelled", ECANCELED));
  auto reply = control_->call(request, in(limit));
  if (!reply) return failed_here(step, std::move(reply.error()));
  if (reply->has_failure()) {
    if (cancelled()) return failed_here(step, Error("cancelled", ECANCELED));
    return std::unexpected(failed_there(reply->failure()));
  }
  return std::move(*reply);
}

StepFailure SourceMigration::failed_there(const peer::Failure& failure) const {
  return {failure.step(), request_.target, failure.cause(), {failure.log().begin(), failure.log().end()}};
}

std::unexpected<StepFailure> SourceMigration::failed_here(const std::string& step, Error error) const {
  return std::unexpected(StepFailure{step, host_.node, cancelled() ? "cancelled" : error.text(), {}, error.code()});
}

std::unexpected<StepFailure> SourceMigration::criu_failed(const std::string& step, Error error) const {
  auto failure = failed_here(step, std::move(error));
  if (!cancelled()) failure.error().log = failure_log(work_->path() / "work", "dump.log");
  return failure;
}

void SourceMigration::begin_phase(const std::string& name, const std::string& text) {
  {
    std::lock_guard lock(mutex_);
    if (report_.phases_size() > 0) report_.mutable_phases(report_.phases_size() - 1)->set_ms(phase_watch_.ms());
    phase_watch_ = {};
    phase_ = name;
    report_.add_phases()->set_name(name);
  }
  listener_.phase_begins(name, text);
}

// The first MS of the current phase were another one.
void SourceMigration::split_phase(const std::string& name, double ms) {
  std::lock_guard lock(mutex_);
  const std::string current = report_.phases(report_.phases_size() - 1).name();
  control::Phase* first = report_.mutable_phases(report_.phases_size() - 1);
  first->set_name(name);
  first->set_ms(ms);
  phase_watch_.advance(ms);
  report_.add_phases()->set_name(current);
}

control::Report SourceMigration::report(const Step<>& result) {
  if (report_.phases_size() > 0) report_.mutable_phases(report_.phases_size() - 1)->set_ms(phase_watch_.ms());
  control::Report report = report_;
  report.set_migration_id(request_.id);
  report.set_container(request_.container);
  report.set_source(host_.node);
  report.set_target(request_.target);
  report.set_mode(control::COLD);
  report.set_total_ms(total_.ms());
  if (sending_) report.set_bytes_sent(sending_->bytes_on_wire());
  if (memory_) {
    memory_->describe(report);
    report.set_bytes_sent(report.bytes_sent() + memory_->bytes_on_wire());
    for (const std::string& note : memory_->notes()) report.add_notes(note);
  }
  if (files_) {
    files_->describe(report);
    report.set_bytes_sent(report.bytes_sent() + files_->bytes_on_wire());
  }
  (*report.mutable_figures())["source_memory_peak_bytes"] = static_cast<double>(memory_peak_bytes_);
  (*report.mutable_figures())["source_disk_bytes"] = static_cast<double>(disk_bytes_written() - disk_bytes_before_);
  if (result) {
    report.set_outcome("migrated");
    report.set_state("running on " + request_.target);
  } else {
    const std::string status = container_seen_ ? status_here() : "";
    report.set_outcome(status == "running" || status == "paused" ? "rolled_back" : "failed");
    report.set_error(result.error().text());
    for (const std::string& line : result.error().log) report.add_log(line);
    report.set_state(container_seen_ ? status + " on " + host_.node : "as before: nothing was done");
  }
  std::lock_guard lock(mutex_);
  over_ = true;
  report_ = report;
  return report;
}

// The container may have ended meanwhile, or have been paused or removed by others.
std::string SourceMigration::status_here() const {
  if (!Runc(host_.runc).exists(request_.container)) return "no longer";
  auto state = Runc(host_.runc).state(request_.container);
  return state ? state->status : "unknown (" + state.error().text() + ")";
}

control::Migration SourceMigration::status() const {
  std::lock_guard lock(mutex_);
  control::Migration status;
  status.set_id(request_.id);
  status.set_container(request_.container);
  status.set_role("source");
  status.set_peer(request_.target);
  status.set_phase(phase_);
  status.set_ongoing(!over_);
  status.set_bytes_sent(bytes_sent_);
  status.set_elapsed_ms(over_ ? report_.total_ms() : total_.ms());
  status.set_downtime_ms(over_ ? report_.downtime_ms() : 0);
  status.set_outcome(over_ ? report_.outcome() : "");
  status.set_error(over_ ? report_.error() : "");
  return status;
}

}  // namespace godwit
