// For tests: an agent in this process, behind a real unix socket, that does what a test tells it
// to; and the godwit command run against it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control.pb.h"

namespace godwit::cli {

// A Migrate call from the agent's side.
class FakeCall {
 public:
  virtual ~FakeCall() = default;
  virtual void send(const control::Progress& progress) = 0;
  virtual void send(const control::Report& report) = 0;
  // Waits until a Cancel has come (then its id) or the call has ended (then empty).
  virtual std::string await_cancel() = 0;
};

struct FakeAnswers {
  // An error with code 0 refuses the call; with another code it is as if the agent had died.
  std::function<Result<>(const control::MigrateRequest&, FakeCall&)> migrate;
  control::CheckReply check;
  control::ListReply list;
  control::StatusReply status;
  Result<control::CancelReply> cancel;
  Result<control::ResolveReply> resolve;
  control::VersionReply version;
};

class FakeAgent {
 public:
  explicit FakeAgent(FakeAnswers answers);
  ~FakeAgent();
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  const std::string& socket() const;

 private:
  struct Server;
  std::unique_ptr<Server> server_;
};

struct Ran {
  int exit_code = 0;
  std::string out;
  std::string err;
  std::string last_line() const;  // of out
};

enum class On { kPipe, kTerminal };

// `godwit --socket SOCKET ARGUMENTS…` in this process.
Ran run_godwit(const std::string& socket, std::vector<std::string> arguments, On on = On::kPipe);

control::Progress progress_event(const std::string& id, const std::string& phase, uint64_t bytes = 0);
control::Report report_with(const std::string& outcome);

// To the whole process, as a terminal's ^C. fake_agent_test.cc blocks it in all threads from the
// start, so that only the code under test takes it.
void press_interrupt();

}  // namespace godwit::cli
