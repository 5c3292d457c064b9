#include "base/turns.h"

namespace godwit {

namespace {

constexpr std::chrono::milliseconds kLookForEnd{20};

}  // namespace

Turns::Turn Turns::try_take() {
  std::lock_guard lock(mutex_);
  if (left_ == 0 || !waiting_.empty()) return {};
  --left_;
  return Turn(this);
}

Turns::Turn Turns::take(Deadline deadline, const std::function<bool()>& given_up) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = tickets_++;
  waiting_.insert(ticket);
  auto mine = [&] { return left_ > 0 && *waiting_.begin() == ticket; };
  while (!mine() && !given_up() && Clock::now() < deadline) changed_.wait_for(lock, kLookForEnd);
  const bool taken = mine();
  if (taken) --left_;
  waiting_.erase(ticket);
  changed_.notify_all();
  return taken ? Turn(this) : Turn();
}

void Turns::give_back() {
  std::lock_guard lock(mutex_);
  ++left_;
  changed_.notify_all();
}

}  // namespace godwit
