#include "agent/peer_service.h"

#include <algorithm>
#include <stop_token>
#include <thread>

#include "agent/grpc_security.h"
#include "base/identifier.h"
#include "base/log.h"
#include "migration/journal.h"

namespace godwit {

namespace {

peer::TargetMessage refusal(const std::string& cause) {
  peer::TargetMessage message;
  message.mutable_failure()->set_step("connect");
  message.mutable_failure()->set_cause(cause);
  return message;
}

}  // namespace

grpc::Status PeerService::check_allowed(const grpc::ServerContext& context) const {
  if (auto allowed = check_peer_allowed(peer_names(context), allowed_, context.peer()); !allowed) {
    log::warn("refused {}: {}", context.peer(), allowed.error().text());
    return {grpc::StatusCode::PERMISSION_DENIED, "this host is not among the peers of " + host_.node};
  }
  return grpc::Status::OK;
}

grpc::Status PeerService::Migrate(grpc::ServerContext* context,
                                  grpc::ServerReaderWriter<peer::TargetMessage, peer::SourceMessage>* stream) {
  if (auto status = check_allowed(*context); !status.ok()) return status;
  peer::SourceMessage request;
  if (!stream->Read(&request)) return grpc::Status::OK;
  auto migration = std::make_shared<TargetMigration>(host_, peer_names(*context), data_address_);
  peer::TargetMessage answer = migration->handle(request);
  const std::string id = migration->id();
  if (!answer.has_hello()) {
    stream->Write(answer);
    return grpc::Status::OK;
  }
  if (auto added = registry_.add(id, migration); !added) {
    stream->Write(refusal(host_.node + ": " + added.error().text()));
    return grpc::Status::OK;
  }
  // gRPC waits by the wall clock: if that is set back, it notices a lost link so much later. The kernel, which watches
  // data connections, does not.
  const std::jthread watch([&](const std::stop_token& stop) {
    if (!migration->await_silent_source(stop)) return;
    log::warn("migration {}: what was arriving has ended, and its source is silent", id);
    context->TryCancel();
  });
  while (stream->Write(answer) && !migration->over() && stream->Read(&request)) answer = migration->handle(request);
  migration->link_lost();  // nothing to do if it is over
  registry_.remove_target(id);
  return grpc::Status::OK;
}

// The source knows the outcome, so the record of it may go: but only at the word of the host that the container came
// from, and not while anything is undecided here.
void PeerService::forget(const grpc::ServerContext& context, const std::string& id) {
  const auto record = read_journal_record(host_.journal / ("target-" + id));
  const auto known = registry_.outcome(id);
  if (!record || (known && known->outcome() == peer::OutcomeReply::ONGOING)) return;
  const auto names = peer_names(context);
  if (std::ranges::find(names, record->facts.peer) == names.end()) return;
  registry_.forget(id);
  if (auto journal = JournalRecord::reopen(record->path); journal)
    if (auto removed = journal->remove(); !removed) log::error("{}", removed.error().text());
}

// The token lets a host send the container's memory: nobody but its source.
void PeerService::complete_resume(const grpc::ServerContext& context, const std::string& id,
                                  peer::OutcomeReply& reply) const {
  if (!reply.has_resume()) return;
  const auto names = peer_names(context);
  for (const control::Migration& migration : registry_.status(id))
    if (migration.role() == "target" && std::ranges::find(names, migration.peer()) != names.end())
      return reply.mutable_resume()->set_data_address(data_address_);
  reply.clear_resume();
}

// What is neither known nor in the journal never ran here: docs/design/commit.md. A container of the name without a
// record is nobody's proof of anything.
grpc::Status PeerService::Outcome(grpc::ServerContext* context, const peer::OutcomeRequest* request,
                                  peer::OutcomeReply* reply) {
  if (auto status = check_allowed(*context); !status.ok()) return status;
  if (auto good = check_id(request->migration_id()); !good)
    return {grpc::StatusCode::INVALID_ARGUMENT, good.error().text()};
  if (request->over()) forget(*context, request->migration_id());
  if (auto known = registry_.outcome(request->migration_id())) {
    *reply = *known;
    complete_resume(*context, request->migration_id(), *reply);
    return grpc::Status::OK;
  }
  if (outcome_without_record(Runc(host_.runc).exists(request->container())) == Outcome::kAborted) {
    reply->set_outcome(peer::OutcomeReply::ABORTED);
  } else {
    reply->set_outcome(peer::OutcomeReply::UNKNOWN);
    reply->set_detail(host_.node + " has a container of that name, and no record of the migration");
  }
  return grpc::Status::OK;
}

}  // namespace godwit
