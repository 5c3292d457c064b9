// Percentiles of many durations in little memory: counted in buckets of a twelfth of their size.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace godwit {

class Latencies {
 public:
  void add(double us) {
    const auto value = static_cast<uint64_t>(std::max(us, 0.0));
    ++buckets_[bucket(value)];
    ++count_;
    max_ = std::max(max_, us);
  }
  uint64_t count() const { return count_; }
  double max() const { return max_; }
  // The least duration that FRACTION of all do not exceed, to the precision of a bucket.
  double percentile(double fraction) const {
    const auto rank = static_cast<uint64_t>(fraction * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size(); ++i)
      if ((seen += buckets_[i]) > rank) return std::min(max_, static_cast<double>(upper(i)));
    return max_;
  }

 private:
  static constexpr size_t kSteps = 8;  // for each doubling
  static size_t bucket(uint64_t value) {
    if (value < kSteps) return value;
    const unsigned power = static_cast<unsigned>(std::bit_width(value)) - 4;  // value >> power is 8 to 15
    return std::min<size_t>(kSteps * (power + 1) + (value >> power) - kSteps, kBuckets - 1);
  }
  static uint64_t upper(size_t index) {
    if (index < kSteps) return index;
    const size_t power = index / kSteps - 1;
    return (kSteps + index % kSteps + 1) << power;
  }
  static constexpr size_t kBuckets = 40 * kSteps;
  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  double max_ = 0;
};

}  // namespace godwit
