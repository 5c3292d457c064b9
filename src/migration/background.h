// Work that must not take processors from a switch-over: it waits for nobody, and nobody for it, until the container
// runs again.
#pragma once

#include <sys/resource.h>

#include <atomic>

namespace godwit {

// Of the calling thread. As long as IN_BACKGROUND is set it runs only when nothing else wants to.
class BackgroundThread {
 public:
  explicit BackgroundThread(const std::atomic<bool>& in_background) : wanted_(in_background) {}

  // Follows the flag; cheap, to be called often.
  void adapt() {
    if (wanted_ == lowered_) return;
    lowered_ = wanted_;
    if (lowered_) normal_ = ::getpriority(PRIO_PROCESS, 0);
    (void)::setpriority(PRIO_PROCESS, 0, lowered_ ? kLowest : normal_);
  }

 private:
  static constexpr int kLowest = 19;
  const std::atomic<bool>& wanted_;
  bool lowered_ = false;
  int normal_ = 0;
};

}  // namespace godwit
