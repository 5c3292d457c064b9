// A mutex for a worker that lets go for a moment only, again and again: whoever waits gets it next.
#pragma once

#include <mutex>

namespace godwit::workloads {

class TurnMutex {
 public:
  void lock() {
    // Who waits for the work keeps the next out of the way.
    const std::lock_guard next(next_);
    work_.lock();
  }
  void unlock() { work_.unlock(); }

 private:
  std::mutex next_;
  std::mutex work_;
};

}  // namespace godwit::workloads
