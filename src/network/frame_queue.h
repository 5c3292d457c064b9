// Held frames, oldest first, within bounds. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::network {

// Past a bound the oldest frames are dropped.
struct HoldBounds {
  size_t frames_max = size_t{1} << 16;
  size_t bytes_max = size_t{64} << 20;
};

struct HoldCount {
  uint64_t frames_held = 0;  // ever, taken ones included
  uint64_t bytes_held = 0;
  uint64_t frames_dropped = 0;
};

class FrameQueue {
 public:
  explicit FrameQueue(HoldBounds bounds) : bounds_(bounds) {}

  void push(std::string_view frame);
  // The oldest, at most BYTES_MAX of them, but at least one if there is any.
  std::vector<std::string> take(size_t bytes_max = SIZE_MAX);
  size_t bytes() const;
  HoldCount count() const;

 private:
  const HoldBounds bounds_;
  mutable std::mutex mutex_;
  std::deque<std::string> frames_;
  size_t bytes_ = 0;
  HoldCount count_;
};

}  // namespace godwit::network
