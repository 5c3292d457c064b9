// The migrations of this agent, ongoing and lately over, and the rules about how many and of what.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/past_migrations.h"
#include "base/result.h"
#include "control.pb.h"
#include "migration/source_migration.h"
#include "migration/target_migration.h"
#include "migration/unfinished_migration.h"

namespace godwit {

class Registry {
 public:
  explicit Registry(int migrations_max) : migrations_max_(migrations_max) {}

  // Refused if CONTAINER is in a migration already, the limit is reached, or the agent is stopping.
  Result<> add(const std::string& id, const std::string& container, std::shared_ptr<SourceMigration> migration);
  Result<> add(const std::string& id, std::shared_ptr<TargetMigration> migration);
  // Of an earlier agent. It counts for no limit, and keeps its container from being migrated.
  void add_unfinished(const std::string& id, std::shared_ptr<UnfinishedMigration> migration);
  void remove_unfinished(const std::string& id);
  // What is done, or why there is nothing to decide.
  Result<std::string> resolve(const std::string& id, control::Side side);
  // The source has ended it.
  void forget(const std::string& id);
  // An error names the migration that CONTAINER is leaving this host in.
  Result<> check_not_leaving(const std::string& container) const;
  // It is over: only what is known of it stays.
  void remove_source(const std::string& id);
  void remove_target(const std::string& id);

  // "cancelled", or an error: unknown, over, or too late.
  Result<std::string> cancel(const std::string& id);
  // No more migrations; those under way are cancelled where that is still possible, or left to the next agent where
  // that goes on.
  void stop();
  bool idle() const;

  std::shared_ptr<TargetMigration> target(const std::string& id) const;
  std::shared_ptr<UnfinishedMigration> unfinished(const std::string& id) const;
  // Empty: this agent does not remember it.
  std::optional<peer::OutcomeReply> outcome(const std::string& id) const;
  // Newest last. ID empty: all.
  std::vector<control::Migration> status(const std::string& id) const;

 private:
  struct Source {
    std::string container;
    std::shared_ptr<SourceMigration> migration;
  };
  // MUTEX_ is held.
  Result<> check_room() const;
  Result<> check_free(const std::string& container) const;

  const int migrations_max_;
  mutable std::mutex mutex_;
  bool stopping_ = false;
  std::map<std::string, Source> sources_;
  std::map<std::string, std::shared_ptr<TargetMigration>> targets_;
  std::map<std::string, std::shared_ptr<UnfinishedMigration>> unfinished_;
  PastMigrations past_;
};

}  // namespace godwit
