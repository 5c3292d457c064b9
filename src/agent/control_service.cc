#include "agent/control_service.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/identifier.h"
#include "base/log.h"
#include "migration/migration_check.h"
#include "wire/protocol.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// Turns what a migration tells into events of the call that watches it. The call may be slower than the migration or
// gone: events wait in a bounded queue.
class EventQueue : public ProgressListener {
 public:
  explicit EventQueue(std::string id) : id_(std::move(id)) {}

  void phase_begins(const std::string& phase, const std::string& text) override {
    control::Progress progress = common();
    {
      std::lock_guard lock(mutex_);
      phase_ = phase;
    }
    progress.set_phase(phase);
    progress.set_text(text);
    progress.set_phase_begins(true);
    push(std::move(progress));
  }

  void bytes_sent(uint64_t bytes, uint64_t bytes_expected) override {
    control::Progress progress = common();
    progress.set_bytes_sent(bytes);
    progress.set_bytes_expected(bytes_expected);
    push(std::move(progress));
  }

  void round_ended(uint32_t number, const control::Round& round) override {
    control::Progress progress = common();
    progress.set_round(number);
    *progress.mutable_round_ended() = round;
    push(std::move(progress));
  }

  void pages_left(uint64_t pages) override {
    control::Progress progress = common();
    progress.set_pages_left(pages);
    push(std::move(progress));
  }

  void report(control::Report report) {
    std::lock_guard lock(mutex_);
    control::MigrateEvent event;
    *event.mutable_report() = std::move(report);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }

  // The next event; empty after LIMIT.
  std::optional<control::MigrateEvent> next(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limit, [&] { return !events_.empty(); })) return std::nullopt;
    control::MigrateEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  static constexpr size_t kEventsMax = 1000;

  control::Progress common() {
    std::lock_guard lock(mutex_);
    control::Progress progress;
    progress.set_migration_id(id_);
    progress.set_phase(phase_);
    progress.set_elapsed_ms(watch_.ms());
    return progress;
  }

  void push(control::Progress progress) {
    std::lock_guard lock(mutex_);
    if (events_.size() >= kEventsMax) return;
    control::MigrateEvent event;
    *event.mutable_progress() = std::move(progress);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }

  const std::string id_;
  Stopwatch watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string phase_ = "request";
  std::deque<control::MigrateEvent> events_;
};

}  // namespace

grpc::Status ControlService::Migrate(grpc::ServerContext* context, const control::MigrateRequest* request,
                                     grpc::ServerWriter<control::MigrateEvent>* writer) {
  const std::string id = random_id();
  EventQueue events(id);
  auto migration = std::make_shared<SourceMigration>(
      SourceMigration::Request{id, request->container(), request->target(), *request}, host_, peers_, tls_, events);
  if (auto added = registry_.add(id, request->container(), migration); !added)
    return {grpc::StatusCode::FAILED_PRECONDITION, added.error().text()};
  log::info("migration {}: {} to {} begins", id, request->container(), request->target());

  std::jthread runner([&] {
    control::Report report = migration->run();
    log::info("migration {}: {}{}{}, downtime {:.1f} ms", id, report.outcome(), report.error().empty() ? "" : ": ",
              report.error(), report.downtime_ms());
    registry_.remove_source(id);
    events.report(std::move(report));
  });
  // The call ends with the report and not before: whoever ends it early cancels the migration.
  bool cancelled = false;
  for (;;) {
    if (!cancelled && context->IsCancelled()) {
      cancelled = true;
      (void)migration->cancel();
    }
    auto event = events.next(100ms);
    if (!event) continue;
    writer->Write(*event);
    if (event->has_report()) return grpc::Status::OK;
  }
}

grpc::Status ControlService::Check(grpc::ServerContext*, const control::CheckRequest* request,
                                   control::CheckReply* reply) {
  if (auto free = registry_.check_not_leaving(request->container()); !free) {
    auto* problem = reply->add_problems();
    problem->set_host(host_.node);
    problem->set_subject("container");
    problem->set_text(free.error().text());
    return grpc::Status::OK;
  }
  *reply = check_migration(host_, peers_, request->container(), request->target());
  return grpc::Status::OK;
}

grpc::Status ControlService::List(grpc::ServerContext*, const control::ListRequest*, control::ListReply* reply) {
  auto containers = Runc(host_.runc).list();
  if (!containers) return {grpc::StatusCode::INTERNAL, containers.error().text()};
  std::map<std::string, control::Migration> ongoing;
  for (const control::Migration& migration : registry_.status(""))
    if (migration.ongoing()) ongoing[migration.container()] = migration;
  for (const ContainerState& state : *containers) {
    control::Container* entry = reply->add_containers();
    entry->set_name(state.name);
    entry->set_status(state.status);
    entry->set_pid(state.pid);
    entry->set_bundle(state.bundle.string());
    auto found = ongoing.find(state.name);
    if (found == ongoing.end()) continue;
    entry->set_migration_id(found->second.id());
    entry->set_migration_phase(found->second.phase());
    entry->set_migration_peer(found->second.peer());
  }
  return grpc::Status::OK;
}

grpc::Status ControlService::Status(grpc::ServerContext*, const control::StatusRequest* request,
                                    control::StatusReply* reply) {
  const auto list = registry_.status(request->migration_id());
  if (list.empty() && !request->migration_id().empty())
    return {grpc::StatusCode::NOT_FOUND, "no migration " + request->migration_id()};
  for (const control::Migration& migration : list) *reply->add_migrations() = migration;
  return grpc::Status::OK;
}

grpc::Status ControlService::Cancel(grpc::ServerContext*, const control::CancelRequest* request,
                                    control::CancelReply* reply) {
  auto cancelled = registry_.cancel(request->migration_id());
  if (!cancelled) return {grpc::StatusCode::FAILED_PRECONDITION, cancelled.error().text()};
  reply->set_text(*cancelled);
  return grpc::Status::OK;
}

grpc::Status ControlService::Resolve(grpc::ServerContext*, const control::ResolveRequest* request,
                                     control::ResolveReply* reply) {
  auto resolved = registry_.resolve(request->migration_id(), request->side());
  if (!resolved) return {grpc::StatusCode::FAILED_PRECONDITION, resolved.error().text()};
  log::warn("migration {}: an operator decides: {}", request->migration_id(), *resolved);
  reply->set_text(*resolved);
  return grpc::Status::OK;
}

grpc::Status ControlService::Version(grpc::ServerContext*, const control::VersionRequest*,
                                     control::VersionReply* reply) {
  reply->set_version(GODWIT_VERSION);
  reply->set_protocol_major(wire::kProtocolMajor);
  reply->set_protocol_minor(wire::kProtocolMinor);
  reply->set_node(host_.node);
  reply->set_criu(criu_version(host_.criu).value_or("missing"));
  reply->set_runc(Runc(host_.runc).version().value_or("missing"));
  return grpc::Status::OK;
}

}  // namespace godwit
