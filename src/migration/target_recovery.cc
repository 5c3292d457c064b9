#include "migration/target_recovery.h"

#include <net/if.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/file.h"
#include "base/log.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/netns.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"
#include "kernel/rtnetlink.h"
#include "migration/target_memory.h"
#include "migration/target_record.h"
#include "network/announce.h"
#include "network/link_message.h"
#include "network/remove.h"
#include "transport/data_listener.h"

namespace godwit {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto kHelpersEndWithin = 60s;
constexpr auto kFreezesWithin = 10s;
constexpr auto kProgress = 200ms;
constexpr const char* kKilled = "Restoring FAILED";  // CRIU's last word when it has killed what it restored

Result<> put_on_bridge(const JournalPort& port) {
  if (port.bridge.empty() || ::if_nametoindex(port.name.c_str()) != port.index) return {};
  const unsigned bridge = ::if_nametoindex(port.bridge.c_str());
  if (bridge == 0) return fail("there is no bridge " + port.bridge);
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  return socket.call(network::set_master_request(port.index, bridge));
}

Result<> announce_recorded(const JournalFacts& facts) {
  peer::NetworkState state;
  if (!state.ParseFromString(facts.network)) return fail("the record's network state cannot be read");
  TRY_ASSIGN(const ScopedFd netns, open_netns(facts.netns));
  return network::announce(netns.get(), state);
}

peer::OutcomeReply::Outcome in_message(Outcome outcome) {
  switch (outcome) {
    case Outcome::kRunning:
      return peer::OutcomeReply::RUNNING;
    case Outcome::kAborted:
      return peer::OutcomeReply::ABORTED;
    case Outcome::kLost:
      return peer::OutcomeReply::LOST;
    case Outcome::kOngoing:
      return peer::OutcomeReply::ONGOING;
    default:
      return peer::OutcomeReply::UNKNOWN;
  }
}

}  // namespace

bool lacks_memory(const fs::path& cgroup) {
  const auto processes = proc::processes_in_cgroup(cgroup);
  if (!processes) return false;
  for (const pid_t pid : *processes) {
    std::ifstream smaps("/proc/" + std::to_string(pid) + "/smaps");
    for (std::string line; std::getline(smaps, line);)  // proc(5): um, userfaultfd missing tracking
      if (line.starts_with("VmFlags:") && (line + " ").find(" um ") != std::string::npos) return true;
  }
  return false;
}

// As TargetMemory::guard() wrote it down. Nothing if the process has ended.
static std::optional<ContainerState> guarded_container(const fs::path& directory) {
  const auto text = read_file(directory / "guarded", 8192);
  if (!text) return std::nullopt;
  const size_t space = text->find(' ');
  ContainerState container;
  container.pid = std::atoi(text->c_str());
  if (space == std::string::npos || container.pid <= 0) return std::nullopt;
  container.freezer_cgroup = text->substr(space + 1);
  const auto pids = proc::processes_in_cgroup(container.freezer_cgroup);
  if (!pids || std::ranges::find(*pids, container.pid) == pids->end()) return std::nullopt;
  return container;
}

TargetRecovery::TargetRecovery(const Host& host, StoredRecord record, JournalRecord journal)
    : host_(host),
      record_(std::move(record)),
      helpers_(HelperProcesses::find(host.run_directory / ("in-" + record_.facts.id))),
      same_boot_(boot_id().value_or("") == record_.facts.boot_id),
      journal_(std::move(journal)) {}

fs::path TargetRecovery::directory() const { return host_.run_directory / ("in-" + record_.facts.id); }

TargetEvidence TargetRecovery::evidence() const {
  const auto log = read_file(directory() / "work" / "restore.log");
  return {.state = record_.state,
          .same_boot = same_boot_,
          .may_be_undone = has_target_record(directory()),
          .criu_killed_it = log && log->find(kKilled) != std::string::npos,
          .container_exists = same_boot_ && Runc(host_.runc).exists(record_.facts.container)};
}

bool TargetRecovery::run(const std::stop_token& stop) {
  if (same_boot_) helpers_.await_end(Clock::now() + kHelpersEndWithin);
  const Outcome outcome = target_after_restart(evidence());
  if (outcome == Outcome::kAborted) undo();
  if (outcome == Outcome::kRunning) take_over();
  if (outcome == Outcome::kLost)
    say("lost", host_.node + " was started again after it may have run the container; nothing of it is here");
  if (outcome == Outcome::kUnknown)
    say("outcome", "the agent of " + host_.node +
                       " was killed at the commit, and the container is not here: whether it "
                       "ran is not known");
  {
    std::lock_guard lock(mutex_);
    outcome_ = outcome;
  }
  await_memory(stop);
  std::lock_guard lock(mutex_);
  // Else the next agent needs what is in the directory.
  if (!memory_ && why_frozen_.empty()) remove_directory();
  if (outcome == Outcome::kAborted) over_ = true;
  return over_;
}

void TargetRecovery::remove_directory() const {
  (void)::umount2(directory().c_str(), MNT_DETACH);
  (void)::rmdir(directory().c_str());
}

void TargetRecovery::undo() {
  check(give_back_recorded(directory(), host_.runc));
  remove_here();
  check(journal_.remove());
  say("recovered", "the agent was killed before the container ran here");
}

// What the agent had not come to is done now: the port, the announcement.
void TargetRecovery::take_over() {
  if (record_.state != CommitState::kCommitted) check(journal_.note(CommitState::kCommitted));
  for (const JournalPort& port : record_.facts.ports) check(put_on_bridge(port));
  // runC waits until the cgroup is frozen. It may not become so: a thread that changes mappings waits for a pager.
  if (const auto guarded = guarded_container(directory())) {
    if (auto given = give_memory(*guarded); given) return check(announce_recorded(record_.facts));
  }
  const auto state = Runc(host_.runc).state(record_.facts.container);
  if (!state) return;  // it has ended, or was removed by hand, perhaps for want of memory: the source keeps its copy
  check(announce_recorded(record_.facts));
  auto given = give_memory(*state);
  if (given) return;
  log::error("migration {}: the container's memory cannot be taken over: {}", record_.facts.id, given.error().text());
  if (auto freezer = CgroupFreezer::open(state->freezer_cgroup)) check(freezer->freeze(Clock::now() + kFreezesWithin));
  std::lock_guard lock(mutex_);
  why_frozen_ = given.error().text();
}

// What is missing is not asked of the kernel alone: once the last userfaultfd is closed it says nothing of it any more.
Result<> TargetRecovery::give_memory(const ContainerState& container) {
  const TargetPager::Container ours{container.pid, container.freezer_cgroup};
  auto living = TargetPager::find(host_.pager, arrival(), ours);
  if (living) {
    use(std::move(*living));
    return {};
  }
  if (const int code = living.error().code(); code != ENOENT && code != ECONNREFUSED && code != ECONNRESET)
    return std::unexpected(std::move(living.error()));
  std::error_code error;
  if (fs::exists(keeper_socket(directory()), error)) {
    TRY_ASSIGN(auto memory, TargetPager::take_over(host_.pager, arrival(), ours));
    use(std::move(memory));
    return {};
  }
  TRY_ASSIGN(const bool all, had_all_memory(directory(), record_.facts.id, container.freezer_cgroup));
  if (!all && lacks_memory(container.freezer_cgroup)) return fail("nobody holds its userfaultfds");
  std::lock_guard lock(mutex_);
  left_.set_done(true);
  return {};
}

TargetPager::Arrival TargetRecovery::arrival() const {
  return {.directory = directory(),
          .id = record_.facts.id,
          .source = record_.facts.peer,
          .bytes_max = host_.image_bytes_max};
}

void TargetRecovery::use(std::shared_ptr<TargetPager> memory) {
  std::error_code error;
  fs::remove_all(directory() / "images", error);  // CRIU has read them; they are memory
  log::info("migration {}: the container runs, and its memory goes on arriving from {}", record_.facts.id,
            record_.facts.peer);
  std::lock_guard lock(mutex_);
  memory_ = std::move(memory);
}

void TargetRecovery::await_memory(const std::stop_token& stop) {
  std::shared_ptr<TargetPager> memory;
  {
    std::lock_guard lock(mutex_);
    memory = memory_;
  }
  while (memory && !stop.stop_requested()) {
    const auto left = memory->progress(kProgress);
    std::lock_guard lock(mutex_);
    const auto lost = memory->lost();
    if (!left.done() && !lost && !over_) continue;
    if (lost) why_frozen_ = *lost;
    if (!lost) left_ = left;
    memory_.reset();
    return;
  }
  if (memory) memory->leave();
}

void TargetRecovery::remove_here() {
  const auto state = Runc(host_.runc).state(record_.facts.container);
  if (state) {
    if (auto processes = proc::processes_in_cgroup(state->freezer_cgroup))
      for (const pid_t pid : *processes)
        if (auto pidfd = open_pidfd(pid)) kill_if_alive(pidfd->get());
    if (auto freezer = CgroupFreezer::open(state->freezer_cgroup)) check(freezer->thaw());
    check(Runc(host_.runc).remove(record_.facts.container));
  }
  for (const JournalPort& port : record_.facts.ports) check(network::remove_link(port.index, port.name));
  check(remove_named_netns(record_.facts.netns));
  std::error_code error;
  if (!record_.facts.bundle.empty()) fs::remove_all(record_.facts.bundle, error);
}

std::optional<peer::OutcomeReply> TargetRecovery::outcome() const {
  std::lock_guard lock(mutex_);
  peer::OutcomeReply reply;
  reply.set_outcome(in_message(outcome_));
  reply.set_detail(text_);
  if (outcome_ != Outcome::kRunning) return reply;
  if (left_.done()) *reply.mutable_pages() = left_;
  if (memory_) memory_->describe(reply);
  return reply;
}

bool TargetRecovery::pass_on(const wire::Preamble& preamble, ScopedFd& socket) {
  std::shared_ptr<TargetPager> memory;
  {
    std::lock_guard lock(mutex_);
    memory = memory_;
  }
  return memory && preamble.channel == memory->request_channel() &&
         memory->take_connection(preamble.channel, socket).has_value();
}

bool TargetRecovery::forget() {
  std::lock_guard lock(mutex_);
  if (outcome_ == Outcome::kOngoing) return false;
  check(journal_.remove());
  if (!memory_) remove_directory();
  return over_ = true;
}

Result<std::string> TargetRecovery::resolve(control::Side side) {
  const auto state = Runc(host_.runc).state(record_.facts.container);
  std::lock_guard lock(mutex_);
  if (over_) return fail("migration " + record_.facts.id + " is over");
  if (outcome_ == Outcome::kOngoing) return fail("what is here is still being looked at; try again");
  if (side == control::TARGET) {
    if (!state) return fail("the container is not on " + host_.node);
    if (memory_) return fail("migration " + record_.facts.id + " goes on by itself: memory is still to come");
    if (!left_.done())
      return fail("the container lacks memory that is on " + record_.facts.peer + " only: it cannot go on here");
  } else if (same_boot_) {
    remove_here();
  }
  if (side == control::SOURCE) outcome_ = Outcome::kAborted;  // the source may ask before it is told by hand
  check(journal_.remove());
  if (!memory_) remove_directory();
  over_ = true;
  return side == control::TARGET ? "the copy on " + host_.node + " stays" : "nothing of it is left on " + host_.node;
}

void TargetRecovery::say(const std::string& phase, const std::string& text) {
  std::lock_guard lock(mutex_);
  log::warn("migration {}: {}", record_.facts.id, text);
  phase_ = phase;
  text_ = text;
}

void TargetRecovery::check(const Result<>& done) const {
  if (!done) log::error("migration {}: {}", record_.facts.id, done.error().text());
}

control::Migration TargetRecovery::status() const {
  control::Migration status;
  status.set_id(record_.facts.id);
  status.set_container(record_.facts.container);
  status.set_role("target");
  status.set_peer(record_.facts.peer);
  const auto state = Runc(host_.runc).state(record_.facts.container);
  std::lock_guard lock(mutex_);
  const bool runs = outcome_ == Outcome::kRunning;
  const bool lacks = runs && state && !left_.done();
  if (runs && memory_) {
    status.set_phase(memory_->paused() ? "postcopy-paused" : "pages");
    status.set_ongoing(!over_);
    return status;
  }
  status.set_phase(runs && lacks ? "memory-missing" : phase_);
  status.set_ongoing(!over_ && !(runs && !lacks));
  if (runs && !lacks) status.set_outcome("migrated");
  if (outcome_ == Outcome::kAborted) status.set_outcome("rolled_back");
  status.set_error(runs && lacks
                       ? "its agent or pager was killed while memory was still to come: the container is frozen, and "
                         "what it lacks is on " +
                             record_.facts.peer + (why_frozen_.empty() ? "" : " (" + why_frozen_ + ")")
                       : text_);
  return status;
}

}  // namespace godwit
