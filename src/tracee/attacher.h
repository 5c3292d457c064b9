// A process of its own that stops others for us (runtime/helpers/attacher.cc).
//
// Who is killed while he has a thread make a system call leaves it with registers that are not its own, and it dies. So
// the agent, which can be killed at any moment, has another do it: a program that nobody has a reason to kill, that
// gets no signal meant for the agent, and that goes on to the end with what it has begun, also if nobody waits for it
// any more.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "base/subprocess.h"

namespace godwit {

class Attacher {
 public:
  static Result<std::unique_ptr<Attacher>> start(const std::filesystem::path& program);
  ~Attacher();  // it ends

  pid_t pid() const { return process_.pid(); }
  // remote_userfaultfd.h's, done there.
  Result<ScopedFd> open_userfaultfd_of(pid_t pid, Deadline deadline);

 private:
  Attacher(Subprocess process, ScopedFd socket) : process_(std::move(process)), socket_(std::move(socket)) {}
  Subprocess process_;
  ScopedFd socket_;
};

// What the program does: answers at SOCKET until the other end is closed.
void serve_as_attacher(int socket);

}  // namespace godwit
