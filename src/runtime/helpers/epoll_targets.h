// Part of the lens: the answer to kcmp(2) with KCMP_EPOLL_TFD where it can be known without it.
//
// For each file that an epoll descriptor watches CRIU asks whether a descriptor of the process is open on it. The
// kernel walks all that is watched for each question: for 10,000 connections 0.4 s of the freeze (6.18). A socket has
// one open file, so a descriptor with the device and inode that the epoll descriptor's fdinfo names is that one.
//
// Plain C, as lens.cc.
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/helpers/descriptor_texts.h"

namespace {

struct EpollTarget {
  uint32_t fd;
  uint64_t inode, device;
};

// Of the last epoll descriptor asked about: CRIU dumps one after the other, and nothing changes meanwhile.
struct EpollTargets {
  int pid = 0;
  uint32_t epoll = 0;
  size_t count = 0;
  EpollTarget* targets = nullptr;  // sorted
};
EpollTargets epoll_targets;

// The hexadecimal number after NAME in the line that begins at LINE and has LENGTH characters; false without one.
bool value_of(const char* line, size_t length, const char* name, uint64_t* value) {
  const size_t skip = strlen(name);
  const auto* found = static_cast<const char*>(memmem(line, length, name, skip));
  if (found == nullptr) return false;
  char* end = nullptr;
  *value = strtoul(found + skip, &end, 16);
  return end != found + skip && end <= line + length;
}

int by_descriptor(const void* a, const void* b) {
  const uint32_t first = static_cast<const EpollTarget*>(a)->fd, second = static_cast<const EpollTarget*>(b)->fd;
  return first < second ? -1 : first > second ? 1 : 0;
}

// Lines such as "tfd:       12 events:       19 data:  c  pos:0 ino:2f07 sdev:8".
void parse_targets(const char* text) {
  size_t lines = 0;
  for (const char* at = text; (at = strstr(at, "tfd:")) != nullptr; ++at) ++lines;
  free(epoll_targets.targets);
  epoll_targets.targets = static_cast<EpollTarget*>(malloc((lines + 1) * sizeof(EpollTarget)));
  epoll_targets.count = 0;
  if (epoll_targets.targets == nullptr) return;
  for (const char* line = text; line != nullptr && *line != '\0';) {
    const char* end = strchr(line, '\n');
    const size_t length = end == nullptr ? strlen(line) : static_cast<size_t>(end - line);
    EpollTarget target{};
    if (strncmp(line, "tfd:", 4) == 0 && epoll_targets.count < lines &&
        value_of(line, length, " ino:", &target.inode) && value_of(line, length, " sdev:", &target.device)) {
      target.fd = static_cast<uint32_t>(strtoul(line + 4, nullptr, 10));
      epoll_targets.targets[epoll_targets.count++] = target;
    }
    line = end == nullptr ? nullptr : end + 1;
  }
  qsort(epoll_targets.targets, epoll_targets.count, sizeof(EpollTarget), by_descriptor);
}

bool load_targets(int pid, uint32_t epoll) {
  size_t size = 0;
  if (const char* kept = kept_text(pid, epoll, &size); kept != nullptr) {
    parse_targets(kept);
    return true;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%u", pid, epoll);
  char* text = read_file_at(AT_FDCWD, path, &size);
  if (text == nullptr) return false;
  parse_targets(text);
  free(text);
  return true;
}

// The one that descriptor EPOLL of PID watches as FD; null if there is none, or more than one.
const EpollTarget* find_target(int pid, uint32_t epoll, uint32_t fd) {
  if (epoll_targets.pid != pid || epoll_targets.epoll != epoll) {
    if (!load_targets(pid, epoll)) return nullptr;
    epoll_targets.pid = pid;
    epoll_targets.epoll = epoll;
  }
  if (epoll_targets.count == 0) return nullptr;
  const EpollTarget key{fd, 0, 0};
  const auto* found = static_cast<const EpollTarget*>(
      bsearch(&key, epoll_targets.targets, epoll_targets.count, sizeof key, by_descriptor));
  if (found == nullptr) return nullptr;
  const EpollTarget* const last = epoll_targets.targets + epoll_targets.count - 1;
  const bool repeated = (found > epoll_targets.targets && found[-1].fd == fd) || (found < last && found[1].fd == fd);
  return repeated ? nullptr : found;
}

// What the kernel is told in a KCMP_EPOLL_TFD: linux/kcmp.h.
struct EpollSlot {
  uint32_t epoll, fd, offset;
};

// Whether descriptor FD of PID is known to be the socket that SLOT of the process EPOLL_PID names.
bool is_watched_socket(int pid, unsigned long fd, int epoll_pid, const EpollSlot* slot) {
  if (slot->offset != 0) return false;
  const EpollTarget* target = find_target(epoll_pid, slot->epoll, slot->fd);
  if (target == nullptr) return false;
  if (const KnownSocket* known = known_socket(pid, fd); known != nullptr)
    return known->inode == target->inode && known->device == target->device;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%lu", pid, fd);
  struct stat facts{};
  return stat(path, &facts) == 0 && S_ISSOCK(facts.st_mode) && facts.st_ino == target->inode &&
         facts.st_dev == target->device;
}

}  // namespace
