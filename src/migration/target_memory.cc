#include "migration/target_memory.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/hex.h"
#include "kernel/memory_maps.h"
#include "kernel/pagemap_scan.h"
#include "kernel/proc.h"
#include "wire/hello.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr uint32_t kStreamsMax = 64;

// What another pager has to know of the migration, besides what the journal says: the token is in memory only.
std::string owner_text(const TargetMemory::Settings& settings) {
  const nlohmann::json value = {{"id", settings.id}, {"token", to_hex(settings.token)}, {"streams", settings.streams}};
  return value.dump();
}

struct Owner {
  std::string token;
  uint32_t streams = 1;
};

Result<Owner> parse_owner(const std::string& text, const std::string& id) {
  const auto value = nlohmann::json::parse(text, nullptr, false);
  const bool whole = value.is_object() && value.contains("id") && value["id"].is_string() && value.contains("token") &&
                     value["token"].is_string() && value.contains("streams") && value["streams"].is_number_unsigned();
  if (!whole || value["id"].get<std::string>() != id) return fail("the pager's log is of another migration");
  Owner owner;
  TRY_ASSIGN(owner.token, from_hex(value["token"].get<std::string>()));
  owner.streams = value["streams"].get<uint32_t>();
  if (owner.token.size() != wire::kTokenBytes || owner.streams < 1 || owner.streams > kStreamsMax)
    return fail("the pager's log has an odd owner");
  return owner;
}

// Whether both see the same numbers of processes.
bool in_same_pid_namespace(pid_t a, pid_t b) {
  std::error_code error;
  auto of = [&](pid_t pid) { return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/pid", error); };
  const auto first = of(a);
  return !first.empty() && first == of(b);
}

// What is there in memory whose missing pages a userfaultfd is asked for. After an exec there is none.
Result<PageRanges> find_present(pid_t pid) {
  PageRanges present;
  TRY_ASSIGN(const auto mappings, read_smaps(pid));
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid));
  for (const Mapping& mapping : mappings)
    if (mapping.has_flag("um"))
      TRY(scan.find({.any_of = kPagePresent | kPageSwapped}, mapping.start, mapping.end, present));
  return present;
}

}  // namespace

Result<std::unique_ptr<TargetMemory>> TargetMemory::create(Settings settings) {
  std::unique_ptr<TargetMemory> memory(new TargetMemory);
  TRY_ASSIGN(memory->log_, PagerLog::create(owner_text(settings)));
  TRY_ASSIGN(memory->keeper_, MemoryKeeper::start(settings.keeper));
  TRY(memory->keeper_->be_found_at(keeper_socket(settings.directory), settings.id));
  memory->keeper_->hold_log(memory->log_->fd());
  TRY_ASSIGN(memory->store_, PageStore::create(settings.bytes_max));
  memory->directory_ = settings.directory;
  memory->streams_ = settings.streams;
  memory->token_ = std::move(settings.token);
  // Of all maps: regions with a single page each take as much of the store as of the index, so no honest map has more.
  const uint64_t regions_max = settings.bytes_max / kPageBytes;
  memory->receiving_ =
      std::make_unique<PageReceiving>(*memory->store_, settings.streams, regions_max, std::move(settings.on_failure));
  TRY_ASSIGN(memory->pager_, Pager::start(memory->pager_settings(), settings.socket));
  memory->receiving_->use(*memory->pager_);
  return memory;
}

Pager::Settings TargetMemory::pager_settings() {
  MemoryKeeper* keeper = keeper_.get();
  PageReceiving* receiving = receiving_.get();
  return {.store = *store_,
          .request = [receiving](SpaceId space, const PageRange& pages) { receiving->request(space, pages); },
          .hold = [keeper](int number, int uffd) { keeper->hold(number, uffd); },
          .drop = [keeper](int number) { keeper->drop(number); },
          .log = log_.get()};
}

Result<std::unique_ptr<TargetMemory>> TargetMemory::take_over(const Orphan& orphan) {
  std::unique_ptr<TargetMemory> memory(new TargetMemory);
  MemoryKeeper::Kept kept;
  TRY_ASSIGN(memory->keeper_, MemoryKeeper::find(keeper_socket(orphan.directory), orphan.id, kept));
  if (!kept.log) return fail("memory_keeper has no pager's log");
  TRY_ASSIGN(memory->log_, PagerLog::reopen(std::move(kept.log)));
  TRY(memory->log_->finish_reading());
  TRY_ASSIGN(const PagerHistory history, memory->log_->history());
  TRY_ASSIGN(Owner owner, parse_owner(history.owner, orphan.id));
  memory->directory_ = orphan.directory;
  memory->streams_ = owner.streams;
  memory->token_ = std::move(owner.token);
  TRY_ASSIGN(memory->store_, PageStore::create(orphan.bytes_max));
  memory->receiving_ =
      std::make_unique<PageReceiving>(*memory->store_, owner.streams, orphan.bytes_max / kPageBytes, nullptr);
  TRY_ASSIGN(memory->pager_, Pager::take_over(memory->pager_settings(), history, kept.uffds));
  memory->receiving_->use(*memory->pager_);
  memory->receiving_->begin_without_connections();
  TRY(memory->settle_present(orphan));
  memory->pager_->begin_serving();
  memory->begin_fill();
  return memory;
}

// Only to spare the link: what is there already would be refused by the kernel.
Result<> TargetMemory::settle_present(const Orphan& orphan) {
  TRY_ASSIGN(const auto pids, proc::processes_in_cgroup(orphan.cgroup));
  for (const pid_t pid : pids) {
    if (!in_same_pid_namespace(pid, orphan.first_process)) continue;  // its number may be another's
    auto id = proc::innermost_pid(pid);
    auto present = find_present(pid);
    if (id && present) pager_->settle_present(static_cast<SpaceId>(*id), *present);
  }
  return {};
}

// The pager uses the receiving end and the other way round: first the threads of one, then the other.
TargetMemory::~TargetMemory() {
  if (receiving_) receiving_->end();
  if (pager_) pager_->stop();
  if (pager_ && pager_->await_complete(Clock::now())) end_keeper();
  receiving_.reset();
  pager_.reset();
}

// An agent that comes back cannot ask runC: it waits for a cgroup that is being frozen.
Result<> TargetMemory::guard(pid_t pid, const std::filesystem::path& freezer) {
  TRY(write_file(directory_ / "guarded", std::to_string(pid) + " " + freezer.string()));
  return keeper_->guard(pid, freezer);
}

// In this order: a keeper that is gone from its first place means that memory is lost.
void TargetMemory::end_keeper() {
  std::call_once(keeper_ended_, [this] {
    std::error_code error;
    std::filesystem::rename(keeper_socket(directory_), keeper_socket_when_done(directory_), error);
    keeper_->done();
  });
}

bool TargetMemory::paused() const { return receiving_->failure() && pager_->figures().pages_owed_left > 0; }

bool TargetMemory::resume(std::unique_ptr<DataConnection> connection) {
  return paused() && receiving_->resume(std::move(connection));
}

Result<> TargetMemory::await_map(Deadline deadline) {
  auto spaces = receiving_->await_map(deadline);
  if (!spaces) return std::unexpected(std::move(spaces.error()));
  return {};
}

Result<> TargetMemory::await_pages(bool all, std::chrono::milliseconds limit) {
  TRY(pager_->await_spaces(Clock::now() + limit));
  uint64_t bytes = receiving_->bytes_received();
  Deadline deadline = Clock::now() + limit;
  while (all && !pager_->await_all_here(Clock::now() + 100ms)) {
    if (auto failed = receiving_->failure()) return std::unexpected(*failed);
    if (bytes != receiving_->bytes_received()) {
      bytes = receiving_->bytes_received();
      deadline = Clock::now() + limit;
    }
    if (Clock::now() > deadline) return fail("no page has come from the source for some time");
  }
  return {};
}

void TargetMemory::begin_fill() {
  resumed_at_ = Clock::now();
  pager_->begin_fill();
}

peer::PagesLeftReply TargetMemory::progress(std::chrono::milliseconds limit) {
  const bool done = pager_->await_complete(Clock::now() + limit);
  if (done) end_keeper();  // before anybody is told, and forgets the migration
  const Pager::Figures figures = pager_->figures();
  peer::PagesLeftReply reply;
  reply.set_done(done);
  reply.set_owed(figures.pages_owed_left);
  reply.set_waiting(figures.pages_stored_left);
  reply.set_paused(paused());
  reply.set_faults(figures.faults);
  reply.set_faults_remote(figures.faults_owed);
  reply.set_fault_p50_us(figures.fault_p50_us);
  reply.set_fault_p99_us(figures.fault_p99_us);
  reply.set_fault_max_us(figures.fault_max_us);
  reply.set_ms(ms_between(resumed_at_, Clock::now()));
  return reply;
}

void TargetMemory::describe(peer::OutcomeReply& reply) {
  *reply.mutable_pages() = progress(std::chrono::milliseconds(0));
  if (!reply.pages().paused()) return;
  reply.mutable_resume()->set_data_token(token_);
  reply.mutable_resume()->set_channel(request_channel());
}

}  // namespace godwit
