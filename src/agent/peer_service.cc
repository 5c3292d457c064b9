#include "agent/peer_service.h"

#include "agent/grpc_security.h"
#include "base/log.h"

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
  while (stream->Write(answer) && !migration->over() && stream->Read(&request)) answer = migration->handle(request);
  migration->link_lost();  // nothing to do if it is over
  registry_.remove_target(id);
  return grpc::Status::OK;
}

// An agent that has been started again remembers nothing. It cannot have committed before that without runC knowing
// the container, and what was not committed died with the bridge (runtime/criu_bridge.h).
grpc::Status PeerService::Outcome(grpc::ServerContext* context, const peer::OutcomeRequest* request,
                                  peer::OutcomeReply* reply) {
  if (auto status = check_allowed(*context); !status.ok()) return status;
  if (auto known = registry_.outcome(request->migration_id())) {
    *reply = *known;
    return grpc::Status::OK;
  }
  auto state = Runc(host_.runc).state(request->container());
  // Paused: its memory was not complete when the agent ended, so the memory_keeper has frozen it.
  const bool runs = state && (state->status == "running" || state->status == "paused");
  reply->set_outcome(runs ? peer::OutcomeReply::RUNNING : peer::OutcomeReply::ABORTED);
  return grpc::Status::OK;
}

}  // namespace godwit
