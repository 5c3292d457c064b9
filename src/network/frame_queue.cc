#include "network/frame_queue.h"

#include <utility>

namespace godwit::network {

void FrameQueue::push(std::string_view frame) {
  std::lock_guard lock(mutex_);
  frames_.emplace_back(frame);
  bytes_ += frame.size();
  ++count_.frames_held;
  count_.bytes_held += frame.size();
  while (frames_.size() > bounds_.frames_max || bytes_ > bounds_.bytes_max) {
    bytes_ -= frames_.front().size();
    frames_.pop_front();
    ++count_.frames_dropped;
  }
}

std::vector<std::string> FrameQueue::take(size_t bytes_max) {
  std::lock_guard lock(mutex_);
  std::vector<std::string> taken;
  for (size_t bytes = 0; !frames_.empty();) {
    bytes += frames_.front().size();
    if (!taken.empty() && bytes > bytes_max) break;
    bytes_ -= frames_.front().size();
    taken.push_back(std::move(frames_.front()));
    frames_.pop_front();
  }
  return taken;
}

size_t FrameQueue::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

HoldCount FrameQueue::count() const {
  std::lock_guard lock(mutex_);
  return count_;
}

}  // namespace godwit::network
