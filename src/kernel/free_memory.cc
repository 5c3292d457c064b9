#include "kernel/free_memory.h"

#include <sys/mman.h>

#include "kernel/proc.h"

namespace godwit {

void warm_free_memory(uint64_t bytes) {
  if (bytes == 0 || proc::meminfo_bytes("MemAvailable") / 2 < bytes) return;
  void* taken =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_NORESERVE, -1, 0);
  if (taken != MAP_FAILED) ::munmap(taken, bytes);
}

}  // namespace godwit
