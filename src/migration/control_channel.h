// A migration's control connection as the source sees it, without the library that carries it (src/agent has the gRPC
// side). One request, one answer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "peer.pb.h"

namespace godwit {

class ControlChannel {
 public:
  virtual ~ControlChannel() = default;
  // The answer, which may be a peer::Failure. An error: the link is lost or the deadline has passed; then nothing
  // is known of what the target did with the request, and the channel is of no more use.
  virtual Result<peer::TargetMessage> call(const peer::SourceMessage& request, Deadline deadline) = 0;
  // From any thread: a running call fails, and so do later ones.
  virtual void cancel() = 0;
};

// How the source reaches other agents.
class PeerConnector {
 public:
  virtual ~PeerConnector() = default;
  // An error says why: unknown node, unreachable, certificate not accepted.
  virtual Result<std::unique_ptr<ControlChannel>> connect(const std::string& node, Deadline deadline) = 0;
  // What became of a migration, over a connection of its own.
  virtual Result<peer::OutcomeReply> outcome(const std::string& node, const std::string& migration_id,
                                             const std::string& container, Deadline deadline) = 0;
  // The source has ended the migration: the target need not remember its outcome any longer. It may not be reached.
  virtual void forget(const std::string& /*node*/, const std::string& /*migration_id*/,
                      const std::string& /*container*/, Deadline /*deadline*/) {}
};

// A step that failed: where, why, and what CRIU's log says.
struct StepFailure {
  std::string step;
  std::string host;
  std::string cause;
  std::vector<std::string> log;
  int code = 0;  // of the error, base/result.h; 0 if it was another host's

  std::string text() const { return step + " on " + host + " failed: " + cause; }
};

}  // namespace godwit
