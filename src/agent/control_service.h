// What the local command line may ask: start, watch and cancel migrations, look at containers.
#pragma once

#include "agent/registry.h"
#include "control.grpc.pb.h"
#include "migration/host.h"

namespace godwit {

class ControlService : public control::Control::Service {
 public:
  // All references outlive the service.
  ControlService(const Host& host, Registry& registry, PeerConnector& peers, const TlsContext& tls)
      : host_(host), registry_(registry), peers_(peers), tls_(tls) {}

  grpc::Status Migrate(grpc::ServerContext* context, const control::MigrateRequest* request,
                       grpc::ServerWriter<control::MigrateEvent>* writer) override;
  grpc::Status Check(grpc::ServerContext* context, const control::CheckRequest* request,
                     control::CheckReply* reply) override;
  grpc::Status List(grpc::ServerContext* context, const control::ListRequest* request,
                    control::ListReply* reply) override;
  grpc::Status Status(grpc::ServerContext* context, const control::StatusRequest* request,
                      control::StatusReply* reply) override;
  grpc::Status Cancel(grpc::ServerContext* context, const control::CancelRequest* request,
                      control::CancelReply* reply) override;
  grpc::Status Resolve(grpc::ServerContext* context, const control::ResolveRequest* request,
                       control::ResolveReply* reply) override;
  grpc::Status Version(grpc::ServerContext* context, const control::VersionRequest* request,
                       control::VersionReply* reply) override;

 private:
  const Host& host_;
  Registry& registry_;
  PeerConnector& peers_;
  const TlsContext& tls_;
};

}  // namespace godwit
