#include "runtime/helpers/restored_images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/helpers/connection_pack.h"

namespace {

struct PackReader {
  bool looked = false;
  const char* map = nullptr;
  size_t records = 0;
  godwit_pack::Record* list = nullptr;  // sorted; null: there is no pack

  int fd = -1;  // CRIU's, of the image that is open
  const godwit_pack::Record* open = nullptr;
  size_t at = 0;
};
PackReader reader;

void load_pack(int directory) {
  reader.looked = true;
  const int fd = static_cast<int>(syscall(SYS_openat, directory, godwit_pack::kPackName, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return;
  struct stat facts{};
  if (fstat(fd, &facts) == 0 && facts.st_size > 0) {
    const auto size = static_cast<size_t>(facts.st_size);
    void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (map != MAP_FAILED) {
      reader.map = static_cast<const char*>(map);
      reader.list = godwit_pack::sorted_records(reader.map, size, &reader.records);
    }
  }
  syscall(SYS_close, fd);
}

}  // namespace

namespace images {

int open_packed(int directory, const char* name, int flags) {
  godwit_pack::Record key{};
  if ((flags & ~(O_LARGEFILE | O_CLOEXEC)) != O_RDONLY || reader.fd >= 0 || !godwit_pack::connection_id(name, &key.id))
    return -1;
  const int error = errno;
  if (!reader.looked) load_pack(directory);
  const auto* found = reader.list == nullptr ? nullptr
                                             : static_cast<const godwit_pack::Record*>(bsearch(
                                                   &key, reader.list, reader.records, sizeof key, godwit_pack::by_id));
  if (found != nullptr) reader.fd = static_cast<int>(syscall(SYS_fcntl, directory, F_DUPFD_CLOEXEC, 0));
  errno = error;
  if (found == nullptr || reader.fd < 0) return -1;
  reader.open = found;
  reader.at = 0;
  return reader.fd;
}

bool is_packed(int fd) { return fd >= 0 && fd == reader.fd; }

ssize_t read_packed(void* buffer, size_t bytes) {
  const size_t left = reader.open->length - reader.at;
  const size_t taken = bytes < left ? bytes : left;
  memcpy(buffer, reader.map + reader.open->offset + reader.at, taken);
  reader.at += taken;
  return static_cast<ssize_t>(taken);
}

int close_packed() {
  const int fd = reader.fd;
  reader.fd = -1;
  return static_cast<int>(syscall(SYS_close, fd));
}

}  // namespace images
