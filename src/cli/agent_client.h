// The local agent as the commands see it, without the library that carries the calls: gRPC is
// included in agent_client.cc only.
//
// Errors: code() is 0 if the agent answered with the error, else the errno closest to why it did
// not (exit_code.h makes the exit status of it).
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "control.pb.h"

namespace godwit::cli {

// A running Migrate call.
class MigrationStream {
 public:
  virtual ~MigrationStream() = default;
  // Waits for the next event; false: there will be none.
  virtual bool next(control::MigrateEvent& event) = 0;
  // How the call ended; once, after next() has returned false.
  virtual Result<> finish() = 0;
};

class AgentClient {
 public:
  virtual ~AgentClient() = default;

  // Streams must end before their client does.
  virtual std::unique_ptr<MigrationStream> migrate(const control::MigrateRequest& request) = 0;
  virtual Result<control::CheckReply> check(const control::CheckRequest& request) = 0;
  virtual Result<control::ListReply> list() = 0;
  virtual Result<control::StatusReply> status(const std::string& migration_id) = 0;
  virtual Result<control::CancelReply> cancel(const std::string& migration_id) = 0;
  virtual Result<control::ResolveReply> resolve(const control::ResolveRequest& request) = 0;
  virtual Result<control::VersionReply> version() = 0;

  // From any thread: calls in progress, and later ones, end at once with an error. The agent
  // cancels a migration whose call has ended.
  virtual void abort() = 0;
};

// Fails if no agent can be reached at SOCKET; the error says what to do.
Result<std::unique_ptr<AgentClient>> connect_agent(const std::string& socket);

// Connects and makes one call: ASK takes an AgentClient& and returns the call's Result.
template <typename Ask>
auto ask_agent(const std::string& socket, Ask ask) -> decltype(ask(std::declval<AgentClient&>())) {
  TRY_ASSIGN(const auto client, connect_agent(socket));
  return ask(*client);
}

}  // namespace godwit::cli
