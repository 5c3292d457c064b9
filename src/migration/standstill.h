// All processes of a container stop for a moment, while something is done to them. For one thread at a time.
#pragma once

#include <mutex>

#include "base/clock.h"
#include "base/result.h"
#include "kernel/cgroup_freezer.h"

namespace godwit {

class Standstill {
 public:
  explicit Standstill(const CgroupFreezer& freezer) : freezer_(freezer) {}

  Result<> hold() {
    mutex_.lock();
    auto frozen = freezer_.freeze(Clock::now() + kWithin);
    if (!frozen) let_go();
    return frozen;
  }
  // On the thread that holds it.
  void let_go() {
    (void)freezer_.thaw();
    mutex_.unlock();
  }

 private:
  static constexpr std::chrono::seconds kWithin{1};  // it takes a fraction of a millisecond

  const CgroupFreezer& freezer_;
  std::mutex mutex_;
};

}  // namespace godwit
