#include "kernel/cpu_affinity.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/file.h"
#include "kernel/cgroup_tree.h"
#include "kernel/proc.h"

namespace godwit {

namespace {

constexpr size_t kCpusMax = 8192;  // CONFIG_NR_CPUS of the largest kernels

using Mask = std::string;

void set(Mask& mask, size_t cpu) {
  if (mask.size() <= cpu / 8) mask.resize(cpu / 8 + 1, '\0');
  mask[cpu / 8] = static_cast<char>(mask[cpu / 8] | 1 << cpu % 8);
}

// Without the zeros at the end, so that equal masks are equal.
Mask trimmed(Mask mask) {
  while (!mask.empty() && mask.back() == '\0') mask.pop_back();
  return mask;
}

// Empty: the thread has ended.
Mask mask_of(pid_t thread) {
  Mask mask(kCpusMax / 8, '\0');
  if (::sched_getaffinity(thread, mask.size(), reinterpret_cast<cpu_set_t*>(mask.data())) != 0) return {};
  return trimmed(std::move(mask));
}

Mask all_processors() {
  const auto text = read_file("/sys/devices/system/cpu/online");
  return text ? trimmed(parse_cpu_list(*text)) : Mask();
}

// Those that its cgroup leaves PID.
Mask processors_of_cgroup(pid_t pid) {
  const auto directories = cgroup_directories(pid);
  if (directories)
    for (const auto& directory : *directories)
      for (const char* name : {"cpuset.effective_cpus", "cpuset.cpus.effective"})
        if (auto text = read_file(directory / name)) return trimmed(parse_cpu_list(*text));
  return all_processors();
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
    pid_t thread = 0;
    const std::string name = entry.path().filename();
    if (std::from_chars(name.data(), name.data() + name.size(), thread).ec == std::errc()) threads.push_back(thread);
  }
  return threads;
}

std::vector<uint32_t> inner_numbers(pid_t pid, pid_t thread, size_t levels_outside) {
  const auto numbers = proc::namespace_pids(pid, thread);
  if (!numbers || numbers->size() <= levels_outside) return {};
  return {numbers->begin() + static_cast<ptrdiff_t>(levels_outside), numbers->end()};
}

// Calls WORK(pid, thread) for each thread.
template <typename Work>
Result<> for_each_thread(const std::filesystem::path& cgroup, Work work) {
  TRY_ASSIGN(const auto pids, proc::processes_in_cgroup(cgroup));
  for (pid_t pid : pids)
    for (pid_t thread : threads_of(pid)) work(pid, thread);
  return {};
}

// How many pid namespaces there are around the container's, as /proc here shows it.
Result<size_t> levels_outside(pid_t first) {
  TRY_ASSIGN(const auto numbers, proc::namespace_pids(first, first));
  return numbers.size() - 1;
}

bool set_mask(pid_t thread, const Mask& mask) {
  Mask whole = mask;
  whole.resize(kCpusMax / 8, '\0');
  return ::sched_setaffinity(thread, whole.size(), reinterpret_cast<const cpu_set_t*>(whole.data())) == 0;
}

}  // namespace

std::string parse_cpu_list(std::string_view text) {
  Mask mask;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  for (size_t at = 0; at < text.size();) {
    const std::string_view part = text.substr(at, text.find(',', at) - at);
    at += part.size() + 1;
    size_t first = 0, last = 0;
    auto [middle, error] = std::from_chars(part.data(), part.data() + part.size(), first);
    if (error != std::errc()) return {};
    last = first;
    if (middle != part.data() + part.size()) {
      if (*middle != '-') return {};
      const auto end = std::from_chars(middle + 1, part.data() + part.size(), last);
      if (end.ec != std::errc() || end.ptr != part.data() + part.size()) return {};
    }
    if (last < first || last >= kCpusMax) return {};
    for (size_t cpu = first; cpu <= last; ++cpu) set(mask, cpu);
  }
  return mask;
}

Result<std::vector<BoundThread>> find_bound_threads(const std::filesystem::path& cgroup, pid_t first) {
  TRY_ASSIGN(const size_t outside, levels_outside(first));
  std::vector<BoundThread> bound;
  std::map<pid_t, Mask> of_cgroup;  // by process
  TRY(for_each_thread(cgroup, [&](pid_t pid, pid_t thread) {
    auto [left, unknown] = of_cgroup.try_emplace(pid);
    if (unknown) left->second = processors_of_cgroup(pid);
    Mask mask = mask_of(thread);
    if (mask.empty() || mask == left->second) return;
    auto numbers = inner_numbers(pid, thread, outside);
    if (!numbers.empty()) bound.push_back({std::move(numbers), std::move(mask)});
  }));
  return bound;
}

Result<size_t> bind_threads(const std::filesystem::path& cgroup, pid_t first, std::span<const BoundThread> bound) {
  const Mask all = all_processors();
  const bool free_others = mask_of(0) != all;
  if (bound.empty() && !free_others) return size_t{0};
  std::map<std::vector<uint32_t>, Mask> wanted;
  for (const BoundThread& thread : bound) wanted[thread.thread] = thread.cpus;
  TRY_ASSIGN(const size_t outside, levels_outside(first));
  size_t refused = 0;
  TRY(for_each_thread(cgroup, [&](pid_t pid, pid_t thread) {
    const auto found = bound.empty() ? wanted.end() : wanted.find(inner_numbers(pid, thread, outside));
    if (found != wanted.end()) {
      if (set_mask(thread, found->second)) return;
      ++refused;
    }
    if (free_others || found != wanted.end()) (void)set_mask(thread, all);
  }));
  return refused;
}

}  // namespace godwit
