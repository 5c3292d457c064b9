// Preloaded into the criu process of a restore: gives the container the shared memory that the agent has for it.
//
// CRIU makes a memfd for each object of shared anonymous memory and for each memfd, sets its size, maps it, opens
// pagemap-shmem-N.img, N being the inode number that the object had where it was dumped, and reads into the mapping
// what that names; the descriptor is what processes get. When it opens the image, the agent is asked for object N
// (runtime/object_door.h), and what it gives takes the memfd's place in the descriptor. Its image names no pages then,
// so that it does not matter that the mapping is still of the memfd.
//
// This happens in restored processes, which are elsewhere in mounts, and some in the container's network namespace:
// the agent listens in both under one abstract name, which $GODWIT_OBJECTS has, with a secret behind it.
//
// If the agent should have the object and does not give it, the image cannot be opened, and the restore fails.
#include "runtime/helpers/restored_objects.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/helpers/object_question.h"

namespace {

constexpr int kSealsOfOthers = F_SEAL_SEAL;  // of a memfd that was made without MFD_ALLOW_SEALING

char name[kObjectDoorNameBytes + 1];
unsigned char secret[kObjectSecretBytes];
int last_memfd = -1;  // of this process; CRIU opens the image of its content next

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// NAME:SECRET, the latter in hexadecimal digits.
__attribute__((constructor)) void start() {
  const char* value = getenv(kObjectDoorVariable);
  if (value != nullptr && strlen(value) == kObjectDoorNameBytes + 1 + 2 * kObjectSecretBytes) {
    memcpy(name, value, kObjectDoorNameBytes);
    const char* digits = value + kObjectDoorNameBytes + 1;
    for (size_t i = 0; i < kObjectSecretBytes; ++i)
      secret[i] = static_cast<unsigned char>(digit_of(digits[2 * i]) << 4 | digit_of(digits[2 * i + 1]));
  }
  unsetenv(kObjectDoorVariable);
}

int connect_to_agent() {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path + 1, name, kObjectDoorNameBytes);
  const timeval limit{30, 0};
  if (syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address),
              offsetof(sockaddr_un, sun_path) + 1 + kObjectDoorNameBytes) == 0)
    return fd;
  close(fd);
  return -1;
}

// The answer to a question: a descriptor, kObjectNone, or kObjectFailed.
int receive(int fd) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (syscall(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC) != 1) return kObjectFailed;
  if (byte == kObjectNotHere) return kObjectNone;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (byte != kObjectHere || header == nullptr || header->cmsg_type != SCM_RIGHTS) return kObjectFailed;
  int object = -1;
  memcpy(&object, CMSG_DATA(header), sizeof object);
  return object;
}

int ask_for(uint64_t inode) {
  ObjectQuestion question{};
  memcpy(question.secret, secret, sizeof secret);
  question.inode = inode;
  const int fd = connect_to_agent();
  if (fd < 0) return kObjectFailed;
  const bool asked = write(fd, &question, sizeof question) == static_cast<ssize_t>(sizeof question);
  const int object = asked ? receive(fd) : kObjectFailed;
  close(fd);
  return object;
}

// The number in pagemap-shmem-N.img; false: it is another file.
bool object_of(const char* path, uint64_t& inode) {
  constexpr char kPrefix[] = "pagemap-shmem-";
  if (strncmp(path, kPrefix, sizeof kPrefix - 1) != 0) return false;
  char* end = nullptr;
  inode = strtoull(path + sizeof kPrefix - 1, &end, 10);
  return end != path + sizeof kPrefix - 1 && strcmp(end, ".img") == 0;
}

// OBJECT becomes what MEMFD is, as far as CRIU has made it that.
bool put_in_place(int object, int memfd) {
  struct stat ours{}, theirs{};
  if (fstat(object, &ours) != 0 || fstat(memfd, &theirs) != 0 || ours.st_size != theirs.st_size) return false;
  const int seals = fcntl(memfd, F_GET_SEALS);
  if (seals > 0 && fcntl(object, F_ADD_SEALS, seals & kSealsOfOthers) != 0) return false;
  const int flags = fcntl(memfd, F_GETFD);
  return flags >= 0 && dup3(object, memfd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0) >= 0;
}

// False: the restore must not go on.
bool replace_last_memfd(uint64_t inode) {
  const int memfd = last_memfd;
  last_memfd = -1;
  const int object = ask_for(inode);
  if (object == kObjectNone) return true;
  if (object < 0) return false;
  const bool done = put_in_place(object, memfd);
  close(object);
  return done;
}

}  // namespace

namespace objects {

bool give_what_is_opened(const char* path) {
  uint64_t inode = 0;
  return name[0] == '\0' || last_memfd < 0 || !object_of(path, inode) || replace_last_memfd(inode);
}

}  // namespace objects

extern "C" {

__attribute__((visibility("default"))) int memfd_create(const char* file, unsigned flags) noexcept {
  const int fd = static_cast<int>(syscall(SYS_memfd_create, file, flags));
  last_memfd = fd;
  return fd;
}

}  // extern "C"
