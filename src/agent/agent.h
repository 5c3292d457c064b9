// The agent: wires configuration, services and listeners together.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/config.h"
#include "agent/control_service.h"
#include "agent/peer_client.h"
#include "agent/peer_service.h"
#include "agent/registry.h"
#include "base/result.h"
#include "migration/host.h"
#include "migration/source_recovery.h"
#include "migration/target_recovery.h"
#include "transport/data_listener.h"

namespace godwit {

class Agent {
 public:
  // Everything listens when it returns. HELPERS: directory of the helper programs (libexec).
  static Result<std::unique_ptr<Agent>> start(const Config& config, const std::filesystem::path& helpers);
  // Cancels what can be cancelled, waits for the rest, stops listening.
  ~Agent();
  // Returns if no thread holds for good what a migration's status takes; for a watchdog.
  void look_alive() const { (void)registry_.status(""); }
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

 private:
  Agent(Host host, int migrations_max, TlsContext tls)
      : host_(std::move(host)), registry_(migrations_max), tls_(std::move(tls)) {}
  Result<> read_journal();
  void recover();
  Result<> listen_for_data(const Config& config);
  Result<> listen_for_peers(const Config& config, const TlsTexts& texts);
  Result<> listen_for_users(const Config& config);

  const Host host_;
  Registry registry_;
  TlsContext tls_;
  std::unique_ptr<GrpcPeerConnector> connector_;
  std::unique_ptr<DataListener> data_;
  std::unique_ptr<PeerService> peer_service_;
  std::unique_ptr<ControlService> control_service_;
  std::unique_ptr<grpc::Server> peer_server_;
  std::unique_ptr<grpc::Server> control_server_;
  std::string socket_;
  std::vector<std::shared_ptr<UnfinishedMigration>> unfinished_;
  std::vector<std::shared_ptr<SourceRecovery>> unfinished_sources_;
  std::vector<std::jthread> recoveries_;  // one for each; they end before what they use
};

}  // namespace godwit
