#include "network/frame_queue.h"

#include <iterator>

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

std::vector<std::string> FrameQueue::take() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> taken(std::make_move_iterator(frames_.begin()), std::make_move_iterator(frames_.end()));
  frames_.clear();
  bytes_ = 0;
  return taken;
}

HoldCount FrameQueue::count() const {
  std::lock_guard lock(mutex_);
  return count_;
}

}  // namespace godwit::network
