#include "transport/rate_limit.h"

#include <algorithm>
#include <thread>

namespace godwit {

using namespace std::chrono_literals;

namespace {

// Short enough for a fraction of the smallest sensible downtime budget, long enough for sleeps that come late.
constexpr auto kBurst = 5ms;
constexpr auto kLookAgain = 50ms;  // for a cancel

}  // namespace

// When the last of BYTES may be on its way.
Clock::time_point RateLimit::book(uint64_t bytes) {
  const auto of_all = all_ ? all_->book(bytes) : Clock::time_point::min();
  if (bytes_per_second_ == 0) return of_all;
  const auto takes = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_)));
  std::lock_guard lock(mutex_);
  const auto before = std::max(free_at_, Clock::now() - kBurst);
  free_at_ = before + takes;
  return std::max(free_at_, of_all);
}

void RateLimit::take(uint64_t bytes) {
  const auto when = book(bytes);
  for (auto now = Clock::now(); now < when && !cancelled_; now = Clock::now())
    std::this_thread::sleep_for(std::min<Clock::duration>(when - now, kLookAgain));
}

void RateLimit::take_at_once(uint64_t bytes) { (void)book(bytes); }

}  // namespace godwit
