#include "kernel/cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/file.h"
#include "kernel/cgroup_tree.h"

namespace godwit {

namespace {

constexpr int kPeriodUs = 10'000;
constexpr int kQuotaUsMin = 1000;  // the kernel's least (min_cfs_quota_period)

std::string first_word(const std::string& text) { return text.substr(0, text.find_first_of(" \n")); }

Result<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return fail("not a number");
  return value;
}

}  // namespace

namespace {

std::filesystem::path find_usage(const std::vector<std::filesystem::path>& directories) {
  for (const auto& directory : directories)
    for (const char* name : {"cpuacct.usage", "cpu.stat"})
      if (std::filesystem::exists(directory / name)) return directory / name;
  return {};
}

}  // namespace

Result<CpuQuota> CpuQuota::open(pid_t pid) {
  TRY_ASSIGN(const auto directories, cgroup_directories(pid));
  for (const auto& directory : directories) {
    const bool unified = std::filesystem::exists(directory / "cpu.max");
    if (!unified && !std::filesystem::exists(directory / "cpu.cfs_quota_us")) continue;
    CpuQuota quota(directory, find_usage(directories), unified);
    TRY(quota.remember());
    return quota;
  }
  return fail("no cgroup limits the CPU time of process " + std::to_string(pid));
}

Result<> CpuQuota::remember() {
  if (unified_) {
    TRY_ASSIGN(const std::string text, read_file(directory_ / "cpu.max"));
    quota_before_ = first_word(text);
    period_before_ = first_word(text.substr(std::min(text.size(), quota_before_.size() + 1)));
    return {};
  }
  TRY_ASSIGN(const std::string quota, read_file(directory_ / "cpu.cfs_quota_us"));
  TRY_ASSIGN(const std::string period, read_file(directory_ / "cpu.cfs_period_us"));
  quota_before_ = first_word(quota);
  period_before_ = first_word(period);
  return {};
}

Result<uint64_t> CpuQuota::used_us() const {
  TRY_ASSIGN(const std::string text, read_file(usage_));
  const std::string key = "usage_usec ";  // cpu.stat's first line, where it counts
  if (text.starts_with(key)) return number(first_word(text.substr(key.size())));
  TRY_ASSIGN(const uint64_t ns, number(first_word(text)));
  return ns / 1000;
}

Result<> CpuQuota::limit(double cpus) const {
  double allowed = cpus;
  auto quota = number(quota_before_);  // not one if there was no limit
  auto period = number(period_before_);
  if (quota && period && *period > 0)
    allowed = std::min(allowed, static_cast<double>(*quota) / static_cast<double>(*period));
  const long us = std::max<long>(kQuotaUsMin, std::lround(allowed * kPeriodUs));
  return set(std::to_string(us), std::to_string(kPeriodUs));
}

Result<> CpuQuota::restore() const {
  auto set_back = set(quota_before_, period_before_);
  return !set_back && !std::filesystem::exists(directory_) ? Result<>() : set_back;
}

std::vector<std::pair<std::filesystem::path, std::string>> CpuQuota::to_restore() const {
  if (unified_) return {{directory_ / "cpu.max", quota_before_ + " " + period_before_}};
  return {{directory_ / "cpu.cfs_quota_us", "-1"},
          {directory_ / "cpu.cfs_period_us", period_before_},
          {directory_ / "cpu.cfs_quota_us", quota_before_}};
}

Result<> CpuQuota::set(const std::string& quota_us, const std::string& period_us) const {
  if (unified_) return write_attribute(directory_ / "cpu.max", quota_us + " " + period_us);
  // The kernel refuses a quota that is too large for the period and the other way round: none in between.
  TRY(write_attribute(directory_ / "cpu.cfs_quota_us", "-1"));
  TRY(write_attribute(directory_ / "cpu.cfs_period_us", period_us));
  return write_attribute(directory_ / "cpu.cfs_quota_us", quota_us);
}

}  // namespace godwit
