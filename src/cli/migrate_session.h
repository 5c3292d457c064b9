// One migration as the command follows it, from the request to the report.
//
// Everything that happens (events of the call, its end, ^C, the answer to a cancel) arrives in one
// inbox and is handled on one thread; the other threads only wait for their source and put in.
//
// ^C, first: the migration is cancelled (Cancel; if its id is not known yet, as soon as it is, and
// if it does not become known soon by ending the call) and the report still awaited. Second: the
// command ends; the agent, whose call ends with it, goes on cancelling.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "base/clock.h"
#include "cli/agent_client.h"
#include "cli/inbox.h"
#include "cli/progress_display.h"

namespace godwit::cli {

struct Interrupted {
  int signal = 0;
};
struct StreamEnded {
  Result<> how;
};
struct CancelAnswered {
  Result<control::CancelReply> reply;
};
using SessionEvent = std::variant<control::MigrateEvent, StreamEnded, Interrupted, CancelAnswered>;

struct SessionEnd {
  // The agent's, or, if it gave none, one made up of what is known: outcome "failed", and error and
  // state say the rest.
  control::Report report;
  int exit_code = 0;
};

class MigrateSession {
 public:
  // All are borrowed; INBOX may hold Interrupted already.
  MigrateSession(AgentClient& client, Inbox<SessionEvent>& inbox, ProgressDisplay& display)
      : client_(client), inbox_(inbox), display_(display) {}

  // Blocks until it is over; call once. CLIENT is of no use afterwards.
  SessionEnd run(const control::MigrateRequest& request);

 private:
  void handle(control::MigrateEvent& event);
  void handle(StreamEnded& ended);
  void handle(Interrupted& interrupted);
  void handle(CancelAnswered& answered);

  void begin_cancel();
  void check_deadline();
  void end_without_report(const std::string& error, std::string state, int exit_code);

  AgentClient& client_;
  Inbox<SessionEvent>& inbox_;
  ProgressDisplay& display_;
  control::MigrateRequest request_;
  std::string id_;
  bool cancel_wanted_ = false;
  std::thread cancelling_;
  std::optional<Deadline> deadline_;  // the call is ended when it passes
  std::optional<control::Report> report_;
  std::optional<SessionEnd> end_;
};

// A report for a migration that came to nothing before an agent could report.
control::Report report_of_failure(const control::MigrateRequest& request, const std::string& error,
                                  const std::string& state);

}  // namespace godwit::cli
