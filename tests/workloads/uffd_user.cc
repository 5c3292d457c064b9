// Holds a userfaultfd open with a range registered: something CRIU cannot carry. Pre-flight must
// say so before anything is frozen. Prints "ready" once it holds it.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

int main() {
  // User mode only: allowed without privileges.
  long fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
  if (fd < 0) return std::perror("userfaultfd"), 1;
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (ioctl(static_cast<int>(fd), UFFDIO_API, &api) != 0) return std::perror("UFFDIO_API"), 1;
  constexpr size_t kBytes = 1 << 20;
  void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return std::perror("mmap"), 1;
  uffdio_register range{{reinterpret_cast<uintptr_t>(at), kBytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
  if (ioctl(static_cast<int>(fd), UFFDIO_REGISTER, &range) != 0) return std::perror("UFFDIO_REGISTER"), 1;
  std::puts("ready");
  std::fflush(stdout);
  while (true) pause();
}
