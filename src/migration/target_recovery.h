// The target's side of a migration whose agent was killed after Commit had come: what became of it is read from what is
// there (docs/design/commit.md), and told to the source. If memory is missing, its pager has gone on bringing it; if
// that died as well, another one takes over from memory_keeper.
#pragma once

#include <mutex>

#include "migration/helper_processes.h"
#include "migration/host.h"
#include "migration/target_pager.h"
#include "migration/unfinished_migration.h"

namespace godwit {

class TargetRecovery : public UnfinishedMigration {
 public:
  // While the migration's directory is still mounted; run() removes it. HOST outlives it.
  TargetRecovery(const Host& host, StoredRecord record, JournalRecord journal);

  bool run(const std::stop_token& stop) override;
  bool is_source() const override { return false; }
  control::Migration status() const override;
  Result<std::string> resolve(control::Side side) override;
  std::optional<peer::OutcomeReply> outcome() const override;
  bool forget() override;
  bool pass_on(const wire::Preamble& preamble, ScopedFd& socket) override;

 private:
  TargetEvidence evidence() const;
  void undo();
  void take_over();
  Result<> give_memory(const ContainerState& container);
  void remove_directory() const;
  TargetPager::Arrival arrival() const;
  void use(std::shared_ptr<TargetPager> memory);
  void await_memory(const std::stop_token& stop);
  void remove_here();
  void say(const std::string& phase, const std::string& text);
  void check(const Result<>& done) const;
  std::filesystem::path directory() const;

  const Host& host_;
  const StoredRecord record_;
  HelperProcesses helpers_;
  bool same_boot_ = true;

  mutable std::mutex mutex_;  // guards what follows
  JournalRecord journal_;
  Outcome outcome_ = Outcome::kOngoing;
  std::shared_ptr<TargetPager> memory_;  // while some is missing, and a pager gives it
  peer::PagesLeftReply left_;            // done: all memory is there
  std::string why_frozen_;               // memory is missing, and nobody can give it
  std::string phase_ = "recovery";
  std::string text_;
  bool over_ = false;
};

// Whether a process of the cgroup has memory whose missing pages a userfaultfd is asked for.
bool lacks_memory(const std::filesystem::path& cgroup);

}  // namespace godwit
