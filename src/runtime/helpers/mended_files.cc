// Part of mends.so: the calls by which CRIU opens, reads and closes files, for those of its files that are to be
// others.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/helpers/restored_images.h"
#include "runtime/helpers/restored_objects.h"
#include "runtime/helpers/restored_userns.h"

namespace {

int open_any(int directory, const char* path, int flags, unsigned mode) {
  if (path != nullptr && !objects::give_what_is_opened(path)) {
    errno = EIO;
    return -1;
  }
  const int packed = path != nullptr ? images::open_packed(directory, path, flags) : -1;
  return packed >= 0 ? packed : static_cast<int>(syscall(SYS_openat, directory, path, flags, mode));
}

unsigned mode_of(int flags, va_list list) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, unsigned) : 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int openat64(int directory, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned mode = mode_of(flags, list);
  va_end(list);
  return open_any(directory, path, flags | O_LARGEFILE, mode);
}

__attribute__((visibility("default"))) int openat(int directory, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned mode = mode_of(flags, list);
  va_end(list);
  return open_any(directory, path, flags, mode);
}

__attribute__((visibility("default"))) ssize_t read(int fd, void* buffer, size_t bytes) {
  return images::is_packed(fd) ? images::read_packed(buffer, bytes) : syscall(SYS_read, fd, buffer, bytes);
}

__attribute__((visibility("default"))) int close(int fd) {
  if (userns::is_connection(fd)) return 0;
  return images::is_packed(fd) ? images::close_packed() : static_cast<int>(syscall(SYS_close, fd));
}

}  // extern "C"
