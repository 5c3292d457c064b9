#include "migration/cpu_throttle.h"

#include <algorithm>

#include "base/log.h"

namespace godwit {

namespace {

// QEMU's: cpu-throttle-initial, cpu-throttle-increment, max-cpu-throttle, in percent.
constexpr uint32_t kInitial = 20;
constexpr uint32_t kIncrement = 20;
constexpr uint32_t kMax = 99;

}  // namespace

void CpuThrottle::watch(pid_t pid, Attacher& backstop) {
  auto quota = CpuQuota::open(pid);
  if (!quota) return log::debug("no throttling: {}", quota.error().text());
  auto used = quota->used_us();
  if (!used) return log::debug("no throttling: {}", used.error().text());
  quota_ = std::move(*quota);
  pid_ = pid;
  backstop_ = &backstop;
  used_before_us_ = *used;
  watched_from_ = Clock::now();
}

bool CpuThrottle::step() {
  if (!quota_ || percent_ >= kMax) return false;
  if (cpus_ == 0) {
    auto used = quota_->used_us();
    if (!used) return false;
    cpus_ =
        static_cast<double>(*used - used_before_us_) / 1000 / std::max(1.0, ms_between(watched_from_, Clock::now()));
  }
  percent_ = percent_ == 0 ? kInitial : std::min(percent_ + kIncrement, kMax);
  return limit();
}

bool CpuThrottle::limit() {
  auto limited = limited_ ? Result<>() : backstop_->give_cpu_time_back_at_the_end(pid_);
  if (limited) limited = quota_->limit(cpus_ * (100 - percent_) / 100);
  if (!limited) log::warn("throttling: {}", limited.error().text());
  limited_ = limited_ || limited.has_value();
  return limited.has_value();
}

void CpuThrottle::end() {
  if (!limited_) return;
  limited_ = false;
  if (auto restored = quota_->restore(); !restored) log::error("throttling: {}", restored.error().text());
}

}  // namespace godwit
