// Starts and awaits external programs (runc, criu, hooks) without a shell, with bounded output and time.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

struct Command {
  std::vector<std::string> argv = {};                                 // argv[0] is a path or found on PATH
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to the agent's own
  int stdin_fd = -1;                                                  // borrowed; -1 is /dev/null
  int stdout_fd = -1;                                                 // borrowed; -1 is /dev/null
  int stderr_fd = -1;                                                 // borrowed; -1 is /dev/null
  bool kill_group = false;  // run_command at its limit: also what the program started, if still in its process group
  std::string log_name() const { return argv.empty() ? "?" : argv[0]; }
};

// A running child. Destroying it before wait() kills and reaps it.
class Subprocess {
 public:
  static Result<Subprocess> start(const Command& command);
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&& other) noexcept;
  ~Subprocess();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

  // Exit status as a shell reports it: the exit code, or 128 + signal.
  Result<int> wait();
  // Empty when DEADLINE passed first; the child then still runs.
  Result<std::optional<int>> wait_until(Deadline deadline);
  void kill();
  void kill_group();  // and what it started; each child leads a group of its own

 private:
  Subprocess(pid_t pid, ScopedFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;
  ScopedFd pidfd_;
};

struct CommandOutput {
  int status = 0;
  std::string out;     // standard output
  std::string errors;  // standard error
};

inline constexpr size_t kCommandOutputBytesMax = size_t{4} << 20;

// Runs COMMAND to its end, at most LIMIT long; its stdout and stderr are captured (truncated past the bound).
// An error means it could not be run or was killed at the limit; a non-zero exit is not an error.
Result<CommandOutput> run_command(Command command, milliseconds limit);

// As run_command, where a non-zero exit is an error that quotes the end of standard error.
Result<std::string> run_checked(Command command, milliseconds limit);

}  // namespace godwit
