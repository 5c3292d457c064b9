// A bandwidth limit shared by the senders of a migration, or by the migrations of a host.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "base/clock.h"

namespace godwit {

class RateLimit {
 public:
  // BYTES_PER_SECOND 0: no limit. What is taken here is taken from ALL as well.
  explicit RateLimit(uint64_t bytes_per_second, std::shared_ptr<RateLimit> all = nullptr)
      : bytes_per_second_(bytes_per_second), all_(std::move(all)) {}

  // Waits until BYTES more may be sent; at most kBurst of them come early. From any thread.
  void take(uint64_t bytes);
  // Counts BYTES without waiting for them: what follows waits longer.
  void take_at_once(uint64_t bytes);
  // Another one with the same limit, not cancelled.
  std::shared_ptr<RateLimit> again() const { return std::make_shared<RateLimit>(bytes_per_second_, all_); }
  // Waits end at once, now and later.
  void cancel() { cancelled_ = true; }

 private:
  Clock::time_point book(uint64_t bytes);

  const uint64_t bytes_per_second_;
  const std::shared_ptr<RateLimit> all_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  Clock::time_point free_at_{};  // when all that was taken so far has been sent at the limit
};

}  // namespace godwit
