// Runs a program in a mount namespace of its own:
//
//   private_mounts [--tmp] PROGRAM ARGUMENT…
//
// Mounts that runC makes for a restore (the container's root file system below runC's state directory) then go with
// its last process, however that ends, and can never be mistaken for runC's own files when they are removed. With
// --tmp there is an empty tmpfs on /tmp: CRIU makes its mount points there, which would be writes to a disk.

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

int main(int argc, char** argv) {
  int first = 1;
  const bool tmp = argc > 1 && std::strcmp(argv[1], "--tmp") == 0;
  if (tmp) ++first;
  if (first >= argc) {
    std::fprintf(stderr, "usage: private_mounts [--tmp] PROGRAM ARGUMENT...\n");
    return 2;
  }
  // Slaves: what the host unmounts meanwhile is unmounted here as well.
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
      (tmp && mount("godwit", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=16m") != 0)) {
    std::fprintf(stderr, "private_mounts: %s\n", std::strerror(errno));
    return 1;
  }
  execv(argv[first], argv + first);
  std::fprintf(stderr, "private_mounts: %s: %s\n", argv[first], std::strerror(errno));
  return 1;
}
