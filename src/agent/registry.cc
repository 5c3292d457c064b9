#include "agent/registry.h"

#include <algorithm>

#include "agent/heap.h"

namespace godwit {

Result<> Registry::check_room() const {
  if (stopping_) return fail("the agent is stopping");
  if (sources_.size() + targets_.size() >= static_cast<size_t>(migrations_max_))
    return fail("the agent has " + std::to_string(migrations_max_) +
                " migrations under way already (limits.migrations_max)");
  return {};
}

Result<> Registry::check_free(const std::string& container) const {
  for (const auto& [id, source] : sources_)
    if (source.container == container)
      return fail("container '" + container + "' is being migrated already (migration " + id + ")");
  for (const auto& [id, migration] : unfinished_)
    if (const auto status = migration->status(); status.container() == container && status.ongoing())
      return fail("container '" + container + "' is in migration " + id + ", which is not decided (godwit status " +
                  id + ")");
  return {};
}

Result<> Registry::check_not_leaving(const std::string& container) const {
  std::lock_guard lock(mutex_);
  return check_free(container);
}

Result<> Registry::add(const std::string& id, const std::string& container,
                       std::shared_ptr<SourceMigration> migration) {
  std::lock_guard lock(mutex_);
  TRY(check_room());
  TRY(check_free(container));
  log_heap();
  sources_[id] = {container, std::move(migration)};
  return {};
}

Result<> Registry::add(const std::string& id, std::shared_ptr<TargetMigration> migration) {
  std::lock_guard lock(mutex_);
  TRY(check_room());
  if (targets_.contains(id) || past_.outcome(id)) return fail("this migration id has been used");
  log_heap();
  targets_[id] = std::move(migration);
  return {};
}

void Registry::remove_source(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto found = sources_.find(id);
  if (found == sources_.end()) return;
  past_.add(found->second.migration->status(), std::nullopt);
  sources_.erase(found);
}

void Registry::remove_target(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto found = targets_.find(id);
  if (found == targets_.end()) return;
  past_.add(found->second->status(), found->second->outcome());
  targets_.erase(found);
}

Result<std::string> Registry::cancel(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto found = sources_.find(id);
  if (found != sources_.end()) {
    if (found->second.migration->cancel()) return "cancelling; the container goes on here";
    return fail("too late: the commit has been sent, the container goes on on the target");
  }
  if (unfinished_.contains(id)) return fail("too late: an operator can decide it with godwit resolve");
  if (targets_.contains(id)) return fail("cancel it on its source, " + targets_.at(id)->status().peer());
  if (auto past = past_.find(id)) return fail("migration " + id + " is over: " + past->outcome());
  return fail("no migration " + id);
}

void Registry::stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  for (auto& [id, source] : sources_) source.migration->cancel();
  for (auto& [id, target] : targets_) target->leave();
}

bool Registry::idle() const {
  std::lock_guard lock(mutex_);
  return sources_.empty() && targets_.empty();
}

std::shared_ptr<TargetMigration> Registry::target(const std::string& id) const {
  std::lock_guard lock(mutex_);
  auto found = targets_.find(id);
  return found == targets_.end() ? nullptr : found->second;
}

void Registry::add_unfinished(const std::string& id, std::shared_ptr<UnfinishedMigration> migration) {
  std::lock_guard lock(mutex_);
  unfinished_[id] = std::move(migration);
}

void Registry::remove_unfinished(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = unfinished_.find(id);
  if (found == unfinished_.end()) return;
  past_.add(found->second->status(), found->second->outcome());
  unfinished_.erase(found);
}

std::shared_ptr<UnfinishedMigration> Registry::unfinished(const std::string& id) const {
  std::lock_guard lock(mutex_);
  const auto found = unfinished_.find(id);
  return found == unfinished_.end() ? nullptr : found->second;
}

Result<std::string> Registry::resolve(const std::string& id, control::Side side) {
  if (auto migration = unfinished(id)) {
    auto done = migration->resolve(side);
    if (done && !migration->is_source()) remove_unfinished(id);
    return done;
  }
  std::lock_guard lock(mutex_);
  if (auto found = sources_.find(id); found != sources_.end()) return found->second.migration->resolve(side);
  if (targets_.contains(id)) return fail("resolve it on its source, " + targets_.at(id)->status().peer());
  if (auto past = past_.find(id)) return fail("migration " + id + " is over: " + past->outcome());
  return fail("no migration " + id);
}

void Registry::forget(const std::string& id) {
  if (auto migration = unfinished(id))
    if (migration->forget()) remove_unfinished(id);
}

std::optional<peer::OutcomeReply> Registry::outcome(const std::string& id) const {
  if (auto migration = unfinished(id)) return migration->outcome();
  std::lock_guard lock(mutex_);
  if (auto found = targets_.find(id); found != targets_.end()) return found->second->outcome();
  return past_.outcome(id);
}

std::vector<control::Migration> Registry::status(const std::string& id) const {
  std::lock_guard lock(mutex_);
  std::vector<control::Migration> list = past_.all();
  for (const auto& [key, source] : sources_) list.push_back(source.migration->status());
  for (const auto& [key, target] : targets_) list.push_back(target->status());
  for (const auto& [key, migration] : unfinished_) list.push_back(migration->status());
  if (!id.empty()) std::erase_if(list, [&](const control::Migration& item) { return item.id() != id; });
  return list;
}

}  // namespace godwit
