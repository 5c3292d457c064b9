#include "migration/source_recovery.h"

#include "base/file.h"
#include "base/log.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/netns.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"
#include "network/announce.h"
#include "network/detachment.h"
#include "network/loopback_mute.h"
#include "network/remove.h"
#include "runtime/tcp_repair.h"
#include "wire/hello.h"

namespace godwit {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {
// CRIU lets go of the tasks within milliseconds of its agent's end.
constexpr auto kHelpersEndWithin = 20s;
constexpr auto kRetry = 1s;
}  // namespace

Outcome outcome_of(const peer::OutcomeReply& reply) {
  switch (reply.outcome()) {
    case peer::OutcomeReply::ONGOING:
      return Outcome::kOngoing;
    case peer::OutcomeReply::RUNNING:
      return Outcome::kRunning;
    case peer::OutcomeReply::ABORTED:
      return Outcome::kAborted;
    case peer::OutcomeReply::LOST:
      return Outcome::kLost;
    default:
      return Outcome::kUnknown;
  }
}

SourceRecovery::SourceRecovery(const Host& host, StoredRecord record, JournalRecord journal)
    : host_(host),
      record_(std::move(record)),
      journal_(std::move(journal)),
      helpers_(HelperProcesses::find(host.run_directory / ("out-" + record_.facts.id))),
      same_boot_(boot_id().value_or("") == record_.facts.boot_id) {}

bool SourceRecovery::run(const std::stop_token& stop) {
  helpers_.await_end(Clock::now() + kHelpersEndWithin);
  SourceStep step = source_after_restart(record_.state, same_boot_);
  while (step == SourceStep::kAsk && !stop.stop_requested()) {
    step = ask();
    std::unique_lock lock(mutex_);
    if (step == SourceStep::kAsk) decided_.wait_for(lock, stop, kRetry, [&] { return decision_.has_value(); });
    if (decision_) step = *decision_;
  }
  return step != SourceStep::kAsk && end(step);
}

SourceStep SourceRecovery::ask() {
  const std::string frozen = same_boot_ ? ". The copy here stays frozen" : ". Nothing of it is here any more";
  auto reply =
      peers_->outcome(record_.facts.peer, record_.facts.id, record_.facts.container, Clock::now() + host_.peer.answer);
  if (reply) return after(*reply);
  say("outcome", "the agent was killed at the commit, and " + record_.facts.peer +
                     " does not say what became of it: " + reply.error().text() + frozen);
  return SourceStep::kAsk;
}

SourceStep SourceRecovery::after(const peer::OutcomeReply& reply) {
  const std::string& peer = record_.facts.peer;
  const Outcome outcome = outcome_of(reply);
  const bool complete = reply.has_pages() && reply.pages().done();
  if (!same_boot_) return lost_source_after_outcome(outcome);
  if (outcome == Outcome::kRunning && !Runc(host_.runc).exists(record_.facts.container))
    return SourceStep::kRemove;  // somebody has removed the copy here; what is left is its network
  if (outcome == Outcome::kRunning && !complete) send_memory(reply);
  if (outcome == Outcome::kOngoing) say("outcome", peer + " has not decided yet. The copy here stays frozen");
  if (outcome == Outcome::kLost || outcome == Outcome::kUnknown)
    say("outcome", peer + " cannot tell what became of it: " + reply.detail() + ". The copy here stays frozen");
  return source_after_outcome(outcome, complete);
}

void SourceRecovery::send_memory(const peer::OutcomeReply& reply) {
  const std::string& peer = record_.facts.peer;
  if (!reply.has_pages())
    return say("postcopy-paused", "the container is on " + peer +
                                      " and lacks memory that only the copy here has; it cannot go on there. The copy "
                                      "here stays frozen");
  if (reply.pages().paused()) {
    auto begun = reply.has_resume() ? answer_requests(reply.resume()) : fail(peer + " does not say where to");
    if (!begun)
      return say("postcopy-paused", "the container on " + peer + " waits for memory that cannot be sent: " +
                                        begun.error().text() + ". The copy here stays frozen");
  }
  say("pages", "the container runs on " + peer + "; the rest of its memory follows");
}

// Over a connection as after a lost link: the target asks for all that it lacks.
Result<> SourceRecovery::answer_requests(const peer::Resume& where) {
  answering_.reset();
  TRY_ASSIGN(const CgroupFreezer freezer, CgroupFreezer::open(record_.facts.freezer));
  TRY_ASSIGN(const bool frozen, freezer.is_frozen());
  if (!frozen) return fail("the copy here is not frozen any more");
  TRY_ASSIGN(const auto pids, proc::processes_in_cgroup(record_.facts.freezer));
  std::map<SpaceId, pid_t> processes;
  for (const pid_t pid : pids)
    if (auto space = proc::innermost_pid(pid)) processes[static_cast<SpaceId>(*space)] = pid;
  if (where.channel() == 0 || where.channel() >= wire::kFilesChannel) return fail("an odd channel");
  const wire::Hello hello{.channel = static_cast<uint16_t>(where.channel()),
                          .want_plain = !host_.data_encryption,
                          .migration_id = record_.facts.id,
                          .token = where.data_token()};
  TRY_ASSIGN(auto connection, DataConnection::connect(*tls_, where.data_address(), record_.facts.peer, hello,
                                                      Clock::now() + host_.peer.connect));
  TRY(connection->use_congestion_control(host_.data_congestion_control));
  answering_ = std::make_unique<PageAnswering>(
      std::move(connection), processes, std::make_shared<RateLimit>(record_.facts.bandwidth_max, host_.bandwidth));
  return {};
}

bool SourceRecovery::end(SourceStep step) {
  answering_.reset();
  if (step == SourceStep::kRollBack) roll_back();
  if (step == SourceStep::kRemove) remove_here();
  check(journal_.remove());
  if (step == SourceStep::kRemove && peers_ != nullptr)
    peers_->forget(record_.facts.peer, record_.facts.id, record_.facts.container, Clock::now() + host_.peer.answer);
  std::lock_guard lock(mutex_);
  phase_ = "recovered";
  outcome_ = step == SourceStep::kRollBack ? "rolled_back" : step == SourceStep::kRemove ? "migrated" : "failed";
  text_ = step == SourceStep::kClose ? "the host was started again during the migration; the copy here went with it"
                                     : "the agent was killed during the migration";
  log::info("migration {}: {}, recovered from the journal", record_.facts.id, outcome_);
  return true;
}

// As SourceMigration::resume_here, from what the journal has. What was before the freeze needs nothing but its quota,
// unless the attacher was killed too, when it held the container.
void SourceRecovery::roll_back() {
  const JournalFacts& facts = record_.facts;
  for (const auto& [file, value] : facts.cpu_quota) check(write_attribute(file, value));
  auto freezer = CgroupFreezer::open(facts.freezer);
  if (record_.state == CommitState::kPrepared) return freezer ? check(freezer->thaw()) : void();
  if (!freezer) return log::warn("migration {}: {}", facts.id, freezer.error().text());
  if (auto processes = proc::processes_in_cgroup(facts.freezer)) check(end_tcp_repair(*processes));
  auto netns = open_netns(facts.netns);
  auto detachment = network::PortDetachment::recorded(facts.network, netns ? netns->get() : -1);
  check(detachment ? detachment->reattach() : Result<>(std::unexpected(detachment.error())));
  if (netns) check(network::LoopbackMute::end_left(netns->get()));
  check(freezer->thaw());
  if (netns) check(network::announce_again(netns->get()));
}

// Frozen tasks die when they are thawed, before their next instruction.
void SourceRecovery::remove_here() {
  const JournalFacts& facts = record_.facts;
  if (auto processes = proc::processes_in_cgroup(facts.freezer))
    for (const pid_t pid : *processes)
      if (auto pidfd = open_pidfd(pid)) kill_if_alive(pidfd->get());
  if (auto freezer = CgroupFreezer::open(facts.freezer)) check(freezer->thaw());
  check(Runc(host_.runc).remove(facts.container));
  auto netns = open_netns(facts.netns);
  if (auto detachment = network::PortDetachment::recorded(facts.network, netns ? netns->get() : -1))
    detachment->commit();  // removes macvlans
  for (const JournalPort& port : facts.ports) check(network::remove_link(port.index, port.name));
  check(remove_named_netns(facts.netns));
  std::error_code error;
  if (!facts.bundle.empty()) fs::remove_all(facts.bundle, error);
}

Result<std::string> SourceRecovery::resolve(control::Side side) {
  std::lock_guard lock(mutex_);
  if (!outcome_.empty()) return fail("migration " + record_.facts.id + " is over: " + outcome_);
  if (!same_boot_ && side == control::SOURCE) return fail("there is no copy here: this host was started again");
  decision_ = !same_boot_ ? SourceStep::kClose : side == control::SOURCE ? SourceStep::kRollBack : SourceStep::kRemove;
  decided_.notify_all();
  return side == control::SOURCE ? "the copy on " + host_.node + " goes on"
                                 : "the copy on " + host_.node + " is removed";
}

void SourceRecovery::say(const std::string& phase, const std::string& text) {
  std::lock_guard lock(mutex_);
  if (text != text_) log::warn("migration {}: {}", record_.facts.id, text);
  phase_ = phase;
  text_ = text;
}

void SourceRecovery::check(const Result<>& done) const {
  if (!done) log::error("migration {}: {}", record_.facts.id, done.error().text());
}

control::Migration SourceRecovery::status() const {
  std::lock_guard lock(mutex_);
  control::Migration status;
  status.set_id(record_.facts.id);
  status.set_container(record_.facts.container);
  status.set_role("source");
  status.set_peer(record_.facts.peer);
  status.set_phase(phase_);
  status.set_ongoing(outcome_.empty());
  status.set_outcome(outcome_);
  status.set_error(text_);
  return status;
}

}  // namespace godwit
