#include "migration/target_memory.h"

#include <thread>

namespace godwit {

using namespace std::chrono_literals;

Result<std::unique_ptr<TargetMemory>> TargetMemory::create(Settings settings) {
  std::unique_ptr<TargetMemory> memory(new TargetMemory);
  TRY_ASSIGN(memory->keeper_, MemoryKeeper::start(settings.keeper));
  TRY_ASSIGN(memory->store_, PageStore::create(settings.bytes_max));
  // Of all maps: regions with a single page each take as much of the store as of the index, so no honest map has more.
  const uint64_t regions_max = settings.bytes_max / kPageBytes;
  memory->receiving_ =
      std::make_unique<PageReceiving>(*memory->store_, settings.streams, regions_max, std::move(settings.on_failure));
  MemoryKeeper* keeper = memory->keeper_.get();
  auto request = [receiving = memory->receiving_.get()](SpaceId space, const PageRange& pages) {
    receiving->request(space, pages);
  };
  TRY_ASSIGN(memory->pager_, Pager::start({.store = *memory->store_,
                                           .request = request,
                                           .hold = [keeper](int number, int uffd) { keeper->hold(number, uffd); },
                                           .drop = [keeper](int number) { keeper->drop(number); }},
                                          settings.socket));
  memory->receiving_->use(*memory->pager_);
  return memory;
}

// The pager uses the receiving end and the other way round: first the threads of one, then the other.
TargetMemory::~TargetMemory() {
  if (receiving_) receiving_->end();
  if (pager_) pager_->stop();
  receiving_.reset();
  pager_.reset();
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

}  // namespace godwit
