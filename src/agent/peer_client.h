// The source's way to other agents: control connections over gRPC.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "agent/grpc_security.h"
#include "migration/control_channel.h"
#include "transport/tls.h"

namespace godwit {

class GrpcPeerConnector : public PeerConnector {
 public:
  // PEERS: node name to host:port.
  GrpcPeerConnector(std::map<std::string, std::string> peers, TlsTexts texts, TlsContext tls, PeerTimeouts timeouts);

  Result<std::unique_ptr<ControlChannel>> connect(const std::string& node, Deadline deadline) override;
  Result<peer::OutcomeReply> outcome(const std::string& node, const std::string& migration_id,
                                     const std::string& container, Deadline deadline) override;
  void forget(const std::string& node, const std::string& migration_id, const std::string& container,
              Deadline deadline) override;

 private:
  Result<peer::OutcomeReply> ask_outcome(const std::string& node, const std::string& migration_id,
                                         const std::string& container, bool over, Deadline deadline);
  Result<std::shared_ptr<grpc::Channel>> open_channel(const std::string& node, Deadline deadline);
  std::map<std::string, std::string> peers_;
  TlsTexts texts_;
  TlsContext tls_;
  const PeerTimeouts timeouts_;
};

}  // namespace godwit
