// A process of its own that stops others for us (runtime/helpers/attacher.cc): one of them, to have it make a system
// call, or all of a cgroup, for a moment.
//
// Who is killed while he has a thread make a system call leaves it with registers that are not its own, and it dies;
// who is killed while he holds a cgroup frozen, or allows it little CPU time, leaves it so. So the agent, which can be
// killed at any moment, has another do it: a program that nobody has a reason to kill, that gets no signal meant for
// the agent, and that goes on to the end with what it has begun, also if nobody waits for it any more. What it holds
// goes on as soon as the agent is gone, at full speed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "base/subprocess.h"

namespace godwit {

// From any thread.
class Attacher {
 public:
  struct Settings {
    std::filesystem::path program;
    std::filesystem::path cgroup = {};  // to hold; in the freezer hierarchy or the unified one
    // On its command line: by this an agent that is started after this one was killed finds it.
    std::string owner = {};
    // After that it lets go by itself, and ends: an agent that has been stopped may be one for ever.
    milliseconds held_at_most{10'000};
  };
  static Result<std::unique_ptr<Attacher>> start(const Settings& settings);
  ~Attacher();  // end()
  Attacher(const Attacher&) = delete;
  Attacher& operator=(const Attacher&) = delete;

  pid_t pid() const { return process_.pid(); }
  // remote_userfaultfd.h's, done there.
  Result<ScopedFd> open_userfaultfd_of(pid_t pid, Deadline deadline);

  // The tasks of the cgroup stand still until let_go(), by the same thread, or until this process ends; nothing is
  // attached to meanwhile. On failure they run.
  Result<> hold();
  // They run, whatever is returned. An error: perhaps they ran before.
  Result<> let_go();

  // When this process has ended or that one, or at end(), the cgroup of PID may use as much CPU time again as now.
  Result<> give_cpu_time_back_at_the_end(pid_t pid);

  // It has been killed, or has not answered in time: nothing more can be asked of it.
  bool is_lost() const { return lost_; }
  // Not while it holds: it is no more, and stops and lets go nothing any more.
  void end();

 private:
  Attacher(Subprocess process, ScopedFd socket, std::filesystem::path cgroup)
      : process_(std::move(process)), socket_(std::move(socket)), cgroup_(std::move(cgroup)) {}
  void lose_holding();

  std::mutex mutex_;
  Subprocess process_;
  ScopedFd socket_;
  std::atomic<bool> lost_ = false;
  const std::filesystem::path cgroup_;
};

// What the program does: answers at SOCKET until the other end is closed.
void serve_as_attacher(int socket, const std::filesystem::path& cgroup, milliseconds held_at_most);

}  // namespace godwit
