// Holds second descriptors of the userfaultfds of a container that still misses memory, in a process of its own. If the
// pager dies, missing pages would read as zeros as soon as the last descriptor is closed; this one keeps them open and
// freezes the container, until another pager takes over or the container is ended.
//
// Standard input is a SOCK_SEQPACKET socket to the pager. Messages, each with at most one descriptor:
//   hold N            a userfaultfd, number N
//   drop N            it is not needed any more
//   log               the pager's log, a memory file (memory/pager_log.h)
//   listen ID         a listening SOCK_SEQPACKET socket: there another pager finds this program, once the first is gone
//   guard FILE VALUE  a pidfd of the container's first process, which runs from now on; writing VALUE to FILE freezes
//   it
//   done              nothing is missing any more
//
// The other pager runs as the same user as this program and begins with "take ID", the same one. The answer is "log",
// if there is one, "held N" for each userfaultfd, each with its descriptor, and "end". From then on it is the pager.
//
// It goes to the background at once, so that its starter does not have to wait for it.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

constexpr int kHeldMax = 65536;
constexpr timeval kSuccessorAnswersWithin{10, 0};
int held[kHeldMax];  // descriptor + 1 by number, 0: none
int guarded = -1;
int pager_log = -1;
int listener = -1;
char migration[65];
char freezer[4096];
char freeze_value[64];

void go_to_background() {
  if (fork() != 0) _exit(0);
  setsid();
  if (fork() != 0) _exit(0);
}

void close_held(int number) {
  if (number < 0 || number >= kHeldMax || held[number] == 0) return;
  close(held[number] - 1);
  held[number] = 0;
}

void replace(int& kept, int fd) {
  if (kept >= 0) close(kept);
  kept = fd;
}

// Whether FD has been kept.
bool take(const char* text, int fd) {
  int number = -1;
  if (std::sscanf(text, "hold %d", &number) == 1 && number >= 0 && number < kHeldMax && fd >= 0) {
    close_held(number);
    held[number] = fd + 1;
    return true;
  }
  if (std::sscanf(text, "drop %d", &number) == 1) {
    close_held(number);
  } else if (std::strcmp(text, "log") == 0 && fd >= 0) {
    replace(pager_log, fd);
    return true;
  } else if (fd >= 0 && std::strlen(text) < sizeof migration && std::sscanf(text, "listen %64s", migration) == 1) {
    replace(listener, fd);
    return true;
  } else if (fd >= 0 && std::sscanf(text, "guard %4095s %63s", freezer, freeze_value) == 2) {
    replace(guarded, fd);
    return true;
  } else if (std::strcmp(text, "done") == 0) {
    _exit(0);
  }
  return false;
}

// One packet as text, and its descriptor or -1. False: the other end is gone.
bool receive(int from, char (&text)[8192], int& fd) {
  iovec part{text, sizeof text - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  text[got] = '\0';
  fd = -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return true;
}

bool send_to(int successor, const char* text, int fd) {
  iovec part{const_cast<char*>(text), std::strlen(text)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t sent;
  do {
    sent = sendmsg(successor, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

bool may_take(int successor) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(successor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.uid != geteuid()) return false;
  char text[8192], wanted[80];
  int fd = -1;
  if (!receive(successor, text, fd)) return false;
  if (fd >= 0) close(fd);
  std::snprintf(wanted, sizeof wanted, "take %s", migration);
  return std::strcmp(text, wanted) == 0;
}

bool give_all(int successor) {
  if (pager_log >= 0 && !send_to(successor, "log", pager_log)) return false;
  for (int number = 0; number < kHeldMax; ++number) {
    if (held[number] == 0) continue;
    char text[32];
    std::snprintf(text, sizeof text, "held %d", number);
    if (!send_to(successor, text, held[number] - 1)) return false;
  }
  return send_to(successor, "end", -1);
}

// -1: whoever came is not the next pager.
int accept_successor() {
  const int successor = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (successor < 0) {
    poll(nullptr, 0, 100);
    return -1;
  }
  setsockopt(successor, SOL_SOCKET, SO_RCVTIMEO, &kSuccessorAnswersWithin, sizeof kSuccessorAnswersWithin);
  setsockopt(successor, SOL_SOCKET, SO_SNDTIMEO, &kSuccessorAnswersWithin, sizeof kSuccessorAnswersWithin);
  if (may_take(successor) && give_all(successor)) return successor;
  close(successor);
  return -1;
}

// False: the pager is gone.
bool hear(int pager) {
  char text[8192];
  int fd = -1;
  if (!receive(pager, text, fd)) return false;
  if (!take(text, fd) && fd >= 0) close(fd);
  return true;
}

void freeze() {
  const int file = open(freezer, O_WRONLY | O_CLOEXEC);
  if (file < 0 || write(file, freeze_value, std::strlen(freeze_value)) < 0)
    std::fprintf(stderr, "memory_keeper: %s: %s\n", freezer, std::strerror(errno));
  if (file >= 0) close(file);
}

}  // namespace

int main() {
  for (int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) signal(number, SIG_IGN);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  go_to_background();
  for (int pager = STDIN_FILENO;;) {
    pollfd items[2] = {{guarded, POLLIN, 0}, {pager >= 0 ? pager : listener, POLLIN, 0}};
    if (poll(items, 2, -1) < 0 && errno != EINTR) return 1;
    if (guarded >= 0 && items[0].revents != 0) return 0;  // the container has ended
    if (items[1].revents == 0) continue;
    if (pager < 0) {
      pager = accept_successor();
      continue;
    }
    if (hear(pager)) continue;
    close(pager);
    pager = -1;
    if (guarded < 0) return 0;  // it never ran
    freeze();
  }
}
