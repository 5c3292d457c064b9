// The target's side of a migration whose agent was killed after Commit had come: what became of it is read from what is
// there (docs/design/commit.md), and told to the source.
#pragma once

#include <mutex>

#include "migration/helper_processes.h"
#include "migration/host.h"
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

 private:
  TargetEvidence evidence() const;
  void undo();
  void take_over();
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
  // All memory was there when this agent came. What lacked some then will never have it: the pager is gone.
  bool complete_ = false;
  std::string phase_ = "recovery";
  std::string text_;
  bool over_ = false;
};

// Whether a process of the cgroup has memory whose missing pages a userfaultfd is asked for.
bool lacks_memory(const std::filesystem::path& cgroup);

}  // namespace godwit
