// Holds an io_uring open with its rings mapped: something CRIU cannot carry. Pre-flight must say so
// before anything is frozen. Prints "ready" once it holds it.
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

int main() {
  io_uring_params params{};
  long fd = syscall(SYS_io_uring_setup, 8, &params);
  if (fd < 0) return std::perror("io_uring_setup"), 1;
  size_t bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  void* ring =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, static_cast<int>(fd), IORING_OFF_SQ_RING);
  if (ring == MAP_FAILED) return std::perror("mmap"), 1;
  std::puts("ready");
  std::fflush(stdout);
  while (true) pause();
}
