// Turns: so many at once; all others wait for theirs, in the order in which they came.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "base/clock.h"

namespace godwit {

class Turns {
 public:
  // Whoever has one is through when it ends. Movable; must not outlive its Turns.
  class Turn {
   public:
    Turn() = default;
    Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
    Turn& operator=(Turn&& other) noexcept {
      std::swap(turns_, other.turns_);
      return *this;
    }
    ~Turn() {
      if (turns_ != nullptr) turns_->give_back();
    }
    explicit operator bool() const { return turns_ != nullptr; }

   private:
    friend class Turns;
    explicit Turn(Turns* turns) : turns_(turns) {}
    Turns* turns_ = nullptr;
  };

  explicit Turns(size_t at_once) : left_(at_once) {}
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Empty if there is none just now, or others wait.
  Turn try_take();
  // Waits. Empty at DEADLINE, or when GIVEN_UP, which is asked again and again.
  Turn take(Deadline deadline, const std::function<bool()>& given_up);

 private:
  void give_back();

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t left_;
  uint64_t tickets_ = 0;        // given out so far
  std::set<uint64_t> waiting_;  // tickets
};

}  // namespace godwit
