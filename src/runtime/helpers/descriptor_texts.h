// Part of the lens: what CRIU reads in /proc/PID/fdinfo/N, without asking the kernel each time.
//
// CRIU has a copy of each descriptor of the container. It looks at the copy with fstat and fstatfs, and then for three
// values in the fdinfo of the original: position, flags and mount. For sockets, all of them on one mount and without
// positions, the flags can be had from the copy, and the rest is as for the first socket that was looked at. To open,
// read and close a file in /proc costs more than the rest of what CRIU asks of a socket that does nothing.
//
// Of an epoll descriptor that watches ten thousand files the fdinfo is a megabyte. CRIU reads it twice, once only for
// those three values, and the lens once (epoll_targets.h). The kernel makes it once here.
//
// That CRIU's steps are these and in this order is seen at the first socket: its real fdinfo must have the inode of
// the copy. Otherwise, on kernels that do not tell it (before 5.14), or unless the agent has found that there is no
// lock on any socket, which fdinfo would tell ($GODWIT_LENS/unlocked_sockets), nothing is answered here.
//
// Plain C, as lens.cc.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace {

constexpr long kSocketFilesystem = 0x534f434b;  // SOCKFS_MAGIC
constexpr long kAnonymousInodes = 0x09041934;   // ANON_INODE_FS_MAGIC
constexpr size_t kTextBytesMax = size_t{256} << 20;

// The whole text, ended by a zero byte, to be freed; null if there is none. ROOM is a guess at its length: what the
// kernel cannot put into that, it makes anew for the next read.
char* read_text(int fd, size_t room, size_t* size) {
  size_t length = 0;
  char* text = static_cast<char*>(malloc(room));
  for (long got = 1; text != nullptr && got > 0;) {
    if (room - length < room / 2) {
      room *= 2;
      char* more = room <= kTextBytesMax ? static_cast<char*>(realloc(text, room)) : nullptr;
      if (more == nullptr) free(text);
      text = more;
      if (text == nullptr) break;
    }
    got = syscall(SYS_read, fd, text + length, room - length - 1);
    if (got > 0) length += static_cast<size_t>(got);
  }
  if (text != nullptr) text[length] = '\0';
  *size = length;
  return text;
}

char* read_file_at(int directory, const char* path, size_t* size) {
  const int fd = static_cast<int>(syscall(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return nullptr;
  char* text = read_text(fd, size_t{16} << 10, size);
  syscall(SYS_close, fd);
  return text;
}

// The number after NAME at the beginning of a line of TEXT; false without one.
bool line_value(const char* text, const char* name, int base, uint64_t* value) {
  const size_t length = strlen(name);
  for (const char* line = text; line != nullptr; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, name, length) != 0) continue;
    char* end = nullptr;
    *value = strtoul(line + length, &end, base);
    return end != line + length;
  }
  return false;
}

struct SeenDescriptor {  // by CRIU, last
  int copy = -1;
  long filesystem = 0;
  uint64_t inode = 0, device = 0;
  int stat_of = -1;  // whose inode and device these are
};
SeenDescriptor seen;

struct SocketText {
  enum { kUnknown, kKnown, kUnfit } state = kUnknown;
  uint64_t mount = 0;
};
SocketText socket_text;

bool sockets_are_unlocked = false;  // so the agent says

// Sockets of the process that CRIU looks at.
struct KnownSocket {
  uint64_t inode, device;
};
struct KnownSockets {
  int pid = 0;
  size_t room = 0;
  KnownSocket* by_descriptor = nullptr;  // inode 0: unknown
};
KnownSockets known_sockets;
constexpr size_t kDescriptorsMax = size_t{1} << 21;

// The fdinfo of a large epoll descriptor: of one at a time.
struct LargeText {
  int pid = 0;
  uint32_t fd = 0;
  int copy = -1;  // CRIU's
  char* text = nullptr;
  size_t size = 0;
};
LargeText large_text;

// The text that CRIU has open.
struct OpenText {
  int fd = -1;  // kept; CRIU opens one text at a time
  bool open = false;
  const char* text = nullptr;
  size_t size = 0, at = 0;
  char own[128] = {};
};
OpenText open_text;

void note_stat(int fd, const struct stat* facts) {
  seen.stat_of = fd;
  seen.inode = facts->st_ino;
  seen.device = facts->st_dev;
}

void note_filesystem(int fd, long type) {
  seen.copy = fd;
  seen.filesystem = type;
}

void remember_socket(int pid, uint32_t fd) {
  if (known_sockets.pid != pid) {
    if (known_sockets.by_descriptor != nullptr)
      memset(known_sockets.by_descriptor, 0, known_sockets.room * sizeof(KnownSocket));
    known_sockets.pid = pid;
  }
  if (fd >= known_sockets.room) {
    const size_t room = (size_t{fd} + 1) * 2;
    auto* more = fd < kDescriptorsMax
                     ? static_cast<KnownSocket*>(realloc(known_sockets.by_descriptor, room * sizeof(KnownSocket)))
                     : nullptr;
    if (more == nullptr) return;
    memset(more + known_sockets.room, 0, (room - known_sockets.room) * sizeof(KnownSocket));
    known_sockets.by_descriptor = more;
    known_sockets.room = room;
  }
  known_sockets.by_descriptor[fd] = {seen.inode, seen.device};
}

const KnownSocket* known_socket(int pid, uint64_t fd) {
  if (known_sockets.pid != pid || fd >= known_sockets.room || known_sockets.by_descriptor[fd].inode == 0)
    return nullptr;
  return &known_sockets.by_descriptor[fd];
}

// The first socket: is all as this file's head says? TEXT is its fdinfo.
void learn_socket_text(const char* text) {
  uint64_t inode = 0, position = 1;
  socket_text.state = SocketText::kUnfit;
  if (!line_value(text, "ino:", 10, &inode) || inode != seen.inode || !line_value(text, "pos:", 10, &position) ||
      position != 0 || !line_value(text, "mnt_id:", 10, &socket_text.mount) || !sockets_are_unlocked)
    return;
  socket_text.state = SocketText::kKnown;
}

// Makes TEXT what CRIU reads next from the descriptor that is returned; negative if there is none.
int open_as_text(const char* text, size_t size) {
  if (open_text.open) return -1;
  if (open_text.fd < 0)
    open_text.fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC));
  if (open_text.fd < 0) return -1;
  open_text.open = true;
  open_text.text = text;
  open_text.size = size;
  open_text.at = 0;
  return open_text.fd;
}

int open_socket_text(int directory, const char* path, int pid, uint32_t fd) {
  struct stat facts{};
  if (seen.stat_of != seen.copy) {
    if (fstatat(seen.copy, "", &facts, AT_EMPTY_PATH) != 0) return -1;
    note_stat(seen.copy, &facts);
  }
  if (socket_text.state == SocketText::kUnknown) {
    size_t size = 0;
    char* text = read_file_at(directory, path, &size);
    if (text == nullptr) return -1;
    learn_socket_text(text);
    free(text);
  }
  if (socket_text.state != SocketText::kKnown) return -1;
  const long flags = syscall(SYS_fcntl, seen.copy, F_GETFL);
  if (flags < 0) return -1;
  remember_socket(pid, fd);
  const int length = snprintf(open_text.own, sizeof open_text.own, "pos:\t0\nflags:\t0%lo\nmnt_id:\t%lu\nino:\t%lu\n",
                              static_cast<unsigned long>(flags), socket_text.mount, seen.inode);
  return open_as_text(open_text.own, static_cast<size_t>(length));
}

// The text of descriptor FD of PID, an epoll descriptor, if it is kept; nullptr if not.
const char* kept_text(int pid, uint32_t fd, size_t* size) {
  if (large_text.text == nullptr || large_text.pid != pid || large_text.fd != fd) return nullptr;
  *size = large_text.size;
  return large_text.text;
}

int open_epoll_text(int directory, const char* path, int pid, uint32_t fd) {
  size_t size = 0;
  char* text = read_file_at(directory, path, &size);
  if (text == nullptr) return -1;
  free(large_text.text);
  large_text = {pid, fd, seen.copy, text, size};
  return open_as_text(text, size);
}

// A descriptor with the text of PATH, which is in DIRECTORY the fdinfo of FD of PID (0: CRIU's own); negative if the
// kernel's is to be read.
int open_descriptor_text(int directory, const char* path, int pid, uint32_t fd) {
  const int error = errno;
  const long filesystem = seen.filesystem;
  int opened = -1;
  if (pid == 0 && large_text.text != nullptr && large_text.copy == static_cast<int>(fd)) {
    opened = open_as_text(large_text.text, large_text.size);
  } else if (pid != 0 && filesystem == kSocketFilesystem) {
    opened = open_socket_text(directory, path, pid, fd);
  } else if (pid != 0 && filesystem == kAnonymousInodes) {
    opened = open_epoll_text(directory, path, pid, fd);
  }
  seen.filesystem = 0;  // of one descriptor only
  errno = error;
  return opened;
}

bool is_open_text(int fd) { return open_text.open && fd == open_text.fd; }

ssize_t read_open_text(void* buffer, size_t bytes) {
  const size_t left = open_text.size - open_text.at;
  const size_t taken = bytes < left ? bytes : left;
  memcpy(buffer, open_text.text + open_text.at, taken);
  open_text.at += taken;
  return static_cast<ssize_t>(taken);
}

}  // namespace
