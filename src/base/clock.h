// Time on the monotonic clock, and the stopwatch every phase is timed with.
#pragma once

#include <chrono>

namespace godwit {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;
using std::chrono::milliseconds;

inline double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// Milliseconds left until DEADLINE, for poll(2): rounded up, 0 when it has passed.
inline int poll_ms(Deadline deadline) {
  auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
  if (left < 0) return 0;
  return left > 3'600'000 ? 3'600'000 : static_cast<int>(left);
}

class Stopwatch {
 public:
  double ms() const { return ms_between(start_, Clock::now()); }
  // As if it had been started MS later.
  void advance(double ms) {
    start_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(ms));
  }

 private:
  Clock::time_point start_ = Clock::now();
};

}  // namespace godwit
