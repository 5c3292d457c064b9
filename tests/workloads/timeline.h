// How fast a program went, in steps of 100 ms, and where it stood still: the program's own view of a migration.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace godwit::workloads {

using Clock = std::chrono::steady_clock;

inline double ms_since_epoch(Clock::time_point at) {
  return std::chrono::duration<double, std::milli>(at.time_since_epoch()).count();
}

// Units of work done, by the time they were done; many threads add. Keeps the last 20 minutes.
class Timeline {
 public:
  static constexpr auto kStep = std::chrono::milliseconds(100);

  void add(Clock::time_point now, uint64_t units) {
    const uint64_t step = step_of(now);
    Bin& bin = bins_[step % kBins];
    uint64_t seen = bin.step.load(std::memory_order_relaxed);
    if (seen != step && bin.step.compare_exchange_strong(seen, step)) bin.units.store(0, std::memory_order_relaxed);
    bin.units.fetch_add(units, std::memory_order_relaxed);
  }

  // "[12,13,…]": the units of each step that has ended between the two, the latest kBins of them.
  std::string json(Clock::time_point from, Clock::time_point to) const {
    std::string text = "[";
    const uint64_t end = step_of(to);
    for (uint64_t step = std::max(step_of(from), end < kBins ? 0 : end - kBins + 1); step < end; ++step) {
      const Bin& bin = bins_[step % kBins];
      text += (text.size() > 1 ? "," : "") + std::to_string(bin.step == step ? bin.units.load() : 0);
    }
    return text + "]";
  }

 private:
  static constexpr size_t kBins = 12000;
  struct Bin {
    std::atomic<uint64_t> step = 0;
    std::atomic<uint64_t> units = 0;
  };
  static uint64_t step_of(Clock::time_point at) { return static_cast<uint64_t>(at.time_since_epoch() / kStep); }

  std::array<Bin, kBins> bins_;
};

// The longest times that a piece of work took which should take none.
class StallLog {
 public:
  void add(Clock::time_point began, Clock::time_point ended) {
    const auto took = ended - began;
    if (took <= least_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    stalls_.push_back({began, took});
    std::sort(stalls_.begin(), stalls_.end(), [](const Stall& a, const Stall& b) { return a.took > b.took; });
    if (stalls_.size() > kKept) stalls_.resize(kKept);
    if (stalls_.size() == kKept) least_ = stalls_.back().took;
  }

  // "[{"at_ms": …, "us": …}, …]", longest first, and forgets them. at_ms is CLOCK_MONOTONIC.
  std::string take_json() {
    const std::lock_guard lock(mutex_);
    std::string text = "[";
    for (const Stall& stall : stalls_) {
      const auto us = std::chrono::duration_cast<std::chrono::microseconds>(stall.took).count();
      text += (text.size() > 1 ? ", " : "") + ("{\"at_ms\": " + std::to_string(ms_since_epoch(stall.began))) +
              ", \"us\": " + std::to_string(us) + "}";
    }
    stalls_.clear();
    least_ = kShortest;
    return text + "]";
  }

 private:
  static constexpr size_t kKept = 32;
  static constexpr Clock::duration kShortest = std::chrono::microseconds(200);
  struct Stall {
    Clock::time_point began;
    Clock::duration took;
  };
  std::mutex mutex_;
  std::vector<Stall> stalls_;
  std::atomic<Clock::duration> least_ = kShortest;
};

// Both, and the answer to "stats": everything since the last "stats".
//   {"ok": true, "unit": …, "from_ms": …, "window_ms": …, "step_ms": 100, "timeline": […], "longest_stall_us": …,
//   "stalls": […]}
class Pace {
 public:
  explicit Pace(std::string unit) : unit_(std::move(unit)) {}

  Timeline timeline;
  StallLog stalls;

  std::string take_json() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    const std::string list = stalls.take_json();
    const auto first = list.find("\"us\": ");
    const std::string longest =
        first == std::string::npos ? "0" : list.substr(first + 6, list.find('}', first) - first - 6);
    const std::string text = "{\"ok\": true, \"unit\": \"" + unit_ +
                             "\", \"from_ms\": " + std::to_string(ms_since_epoch(taken_)) +
                             ", \"window_ms\": " + std::to_string(ms_since_epoch(now) - ms_since_epoch(taken_)) +
                             ", \"step_ms\": 100, \"longest_stall_us\": " + longest +
                             ", \"timeline\": " + timeline.json(taken_, now) + ", \"stalls\": " + list + "}";
    taken_ = now;
    return text;
  }

 private:
  const std::string unit_;
  std::mutex mutex_;
  Clock::time_point taken_ = Clock::now();
};

}  // namespace godwit::workloads
