// What other agents may ask of this one: the target's side of their migrations.
#pragma once

#include "agent/registry.h"
#include "migration/host.h"
#include "peer.grpc.pb.h"
#include "transport/tls.h"

namespace godwit {

class PeerService : public peer::Peer::Service {
 public:
  // DATA_ADDRESS: where this agent takes data connections. All references outlive the service.
  PeerService(const Host& host, Registry& registry, AllowedPeers allowed, std::string data_address)
      : host_(host), registry_(registry), allowed_(std::move(allowed)), data_address_(std::move(data_address)) {}

  grpc::Status Migrate(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<peer::TargetMessage, peer::SourceMessage>* stream) override;
  grpc::Status Outcome(grpc::ServerContext* context, const peer::OutcomeRequest* request,
                       peer::OutcomeReply* reply) override;

 private:
  grpc::Status check_allowed(const grpc::ServerContext& context) const;
  void complete_resume(const grpc::ServerContext& context, const std::string& id, peer::OutcomeReply& reply) const;
  void forget(const grpc::ServerContext& context, const std::string& id);
  const Host& host_;
  Registry& registry_;
  const AllowedPeers allowed_;
  const std::string data_address_;
};

}  // namespace godwit
