// Which processors the threads of a container are bound to, by sched_setaffinity(2): MPI ranks are, mostly. CRIU does
// not carry it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace godwit {

struct BoundThread {
  // Its numbers in the pid namespaces, from that of the container's first process on inwards.
  std::vector<uint32_t> thread;
  // A bit for each processor, the lowest first.
  std::string cpus;
};

// A processor list of the kernel's, such as "0-3,8", as bits; empty if TEXT is none or names one beyond the 8,192nd.
std::string parse_cpu_list(std::string_view text);

// Of the processes of CGROUP, in the freezer's hierarchy or the unified one, those that may use fewer processors than
// their cgroup. FIRST is the container's first process. A thread that ends meanwhile is left out.
Result<std::vector<BoundThread>> find_bound_threads(const std::filesystem::path& cgroup, pid_t first);

// Binds them, in a container that has been restored, and gives all others every processor: they have this process's
// until then. Returns how many could not be bound: none of their processors is here. Names that are nobody's are
// ignored.
Result<size_t> bind_threads(const std::filesystem::path& cgroup, pid_t first, std::span<const BoundThread> bound);

}  // namespace godwit
