// SIGINT and SIGTERM as calls on an ordinary thread, where everything may be done (a signal handler
// may do next to nothing).
//
// The signals are blocked in the constructing thread and in those it starts from then on; construct
// before anything that starts threads. A signal that the parent had set to be ignored (a shell's
// background job, nohup) stays ignored: blocked signals would be delivered to a signalfd even then.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

#include "base/scoped_fd.h"

namespace godwit::cli {

class Interrupts {
 public:
  // ON_SIGNAL is called for each signal, on a thread of this object's, until its destructor
  // returns.
  explicit Interrupts(std::function<void(int signal)> on_signal);
  ~Interrupts();  // restores the constructing thread's mask; destroy on that thread
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  void watch();

  std::function<void(int)> on_signal_;
  sigset_t old_mask_{};
  ScopedFd signals_;
  ScopedFd stop_;
  std::thread thread_;
};

}  // namespace godwit::cli
