#include "agent/heap.h"

#include <absl/synchronization/mutex.h>
#include <malloc.h>
#include <string.h>

#include "base/log.h"

namespace godwit {

namespace {

// Without this, 140 migrations of a small container in all modes had touched 9.7 MiB of the heap, in steps; with it,
// nothing grew in 500 (docs/reliability.md). Pages of containers do not come from it.
constexpr int kHeapBytes = 12 << 20;
// Free at its end: what an unusually large migration has taken goes back.
constexpr int kFreeMax = 64 << 20;

void set(int parameter, int value, const char* name) {
  if (::mallopt(parameter, value) != 1) log::warn("mallopt {}: the agent's memory will grow with the migrations", name);
}

}  // namespace

void take_heap() {
  // Debian's abseil, which gRPC stands on, remembers the order in which mutexes are locked, with a stack for each, and
  // what it needs for that grows as well.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Otherwise there are eight heaps for each processor, and each keeps what the largest migration that happened to use
  // it needed.
  set(M_ARENA_MAX, 1, "M_ARENA_MAX");
  // Blocks that are larger come from mmap and go back at once.
  set(M_MMAP_THRESHOLD, 2 * kHeapBytes, "M_MMAP_THRESHOLD");
  set(M_TRIM_THRESHOLD, kFreeMax, "M_TRIM_THRESHOLD");
  void* heap = ::malloc(kHeapBytes);
  if (heap == nullptr) return log::warn("no heap of {} bytes: it will grow with the migrations", kHeapBytes);
  ::explicit_bzero(heap, kHeapBytes);  // of a memset that is followed by free() the compiler leaves nothing
  ::free(heap);
}

void log_heap() {
  if (!spdlog::should_log(spdlog::level::debug)) return;
  const struct mallinfo2 info = ::mallinfo2();
  log::debug("heap: {} bytes in use, {} held", info.uordblks + info.hblkhd, info.arena + info.hblkhd);
}

}  // namespace godwit
