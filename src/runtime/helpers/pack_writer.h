// Part of the lens: what CRIU writes as the image of a TCP connection goes to the pack (connection_pack.h), without a
// system call.
//
// CRIU opens such a file, writes it and closes it before it opens another. It gets the pack's descriptor; writes to it
// and its close do not reach the kernel. What turns out to be long becomes a file of its own.
//
// Plain C, as lens.cc.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/helpers/connection_pack.h"

namespace {

constexpr size_t kPackGrowth = size_t{1} << 20;

struct PackWriter {
  int fd = -1;
  bool unfit = false;  // it could not be made
  char* map = nullptr;
  size_t room = 0, end = 0;  // of the file; where the next record begins

  // The image that is open.
  bool open = false;
  int directory = -1, flags = 0, own_file = -1;
  unsigned mode = 0;
  char name[64] = {};
  uint32_t id = 0;
  size_t length = 0;
};
PackWriter pack;

int raw_open(int directory, const char* name, int flags, unsigned mode) {
  return static_cast<int>(syscall(SYS_openat, directory, name, flags, mode));
}

// Takes memory first: a page that is not to be had would be a SIGBUS.
bool grow_pack() {
  const size_t room = pack.room + kPackGrowth;
  if (syscall(SYS_fallocate, pack.fd, 0, static_cast<off_t>(pack.room), static_cast<off_t>(kPackGrowth)) != 0)
    return false;
  void* map = pack.map == nullptr ? mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, pack.fd, 0)
                                  : mremap(pack.map, pack.room, room, MREMAP_MAYMOVE);
  if (map == MAP_FAILED) return false;
  pack.map = static_cast<char*>(map);
  pack.room = room;
  return true;
}

void count_packed() {
  const uint64_t used = pack.end - godwit_pack::kPackHeaderBytes;
  memcpy(pack.map + godwit_pack::kPackMagicBytes, &used, sizeof used);
}

bool begin_pack(int directory) {
  if (pack.fd >= 0 || pack.unfit) return !pack.unfit;
  pack.unfit = true;
  pack.fd = raw_open(directory, godwit_pack::kPackName, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (pack.fd < 0 || !grow_pack()) return false;
  memcpy(pack.map, godwit_pack::kPackMagic, godwit_pack::kPackMagicBytes);
  pack.end = godwit_pack::kPackHeaderBytes;
  count_packed();
  pack.unfit = false;
  return true;
}

// A descriptor for the image NAME of a connection; negative if that is to be a file of its own.
int open_packed(int directory, const char* name, int flags, unsigned mode) {
  uint32_t id = 0;
  constexpr int kNew = O_WRONLY | O_CREAT | O_TRUNC;
  if ((flags & ~(O_LARGEFILE | O_CLOEXEC)) != kNew || pack.open || !godwit_pack::connection_id(name, &id)) return -1;
  const int error = errno;
  const bool begun = begin_pack(directory);
  errno = error;
  if (!begun) return -1;
  pack.open = true;
  pack.directory = directory;
  pack.flags = flags;
  pack.mode = mode;
  strcpy(pack.name, name);  // connection_id has bounded it
  pack.id = id;
  pack.length = 0;
  pack.own_file = -1;
  return pack.fd;
}

bool is_packed(int fd) { return pack.open && fd == pack.fd; }

// What has been written so far becomes a file.
bool leave_pack() {
  pack.own_file = raw_open(pack.directory, pack.name, pack.flags, pack.mode);
  if (pack.own_file < 0) return false;
  const char* bytes = pack.map + pack.end + godwit_pack::kRecordHeaderBytes;
  return pack.length == 0 || syscall(SYS_write, pack.own_file, bytes, pack.length) == static_cast<long>(pack.length);
}

bool fits_pack(size_t bytes) {
  return bytes <= godwit_pack::kPackedBytesMax - pack.length &&
         (pack.room - pack.end >= godwit_pack::kRecordHeaderBytes + godwit_pack::kPackedBytesMax || grow_pack());
}

ssize_t write_packed(const void* data, size_t bytes) {
  if (pack.own_file < 0 && fits_pack(bytes)) {
    memcpy(pack.map + pack.end + godwit_pack::kRecordHeaderBytes + pack.length, data, bytes);
    pack.length += bytes;
    return static_cast<ssize_t>(bytes);
  }
  if (pack.own_file < 0 && !leave_pack()) return -1;
  return syscall(SYS_write, pack.own_file, data, bytes);
}

int close_packed() {
  pack.open = false;
  if (pack.own_file < 0 && !fits_pack(0) && !leave_pack()) return -1;
  if (pack.own_file >= 0) return static_cast<int>(syscall(SYS_close, pack.own_file));
  const uint32_t numbers[2] = {pack.id, static_cast<uint32_t>(pack.length)};
  memcpy(pack.map + pack.end, numbers, sizeof numbers);
  pack.end += sizeof numbers + pack.length;
  count_packed();
  return 0;
}

}  // namespace
