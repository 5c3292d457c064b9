// Holds second descriptors of the userfaultfds of a container that still misses memory, in a process of its own. If the
// agent dies, missing pages would read as zeros as soon as the last descriptor is closed; this one keeps them open and
// freezes the container, until it is ended.
//
// Standard input is a SOCK_SEQPACKET socket to the agent. Messages, each with at most one descriptor:
//   hold N            a userfaultfd, number N
//   drop N            it is not needed any more
//   guard FILE VALUE  a pidfd of the container's first process, which runs from now on; writing VALUE to FILE freezes
//   it done              nothing is missing any more
//
// It goes to the background at once, so that its starter does not have to wait for it.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

constexpr int kHeldMax = 65536;
int held[kHeldMax];  // descriptor + 1 by number, 0: none
int guarded = -1;
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

void take(char* text, int fd) {
  int number = -1;
  if (std::sscanf(text, "hold %d", &number) == 1 && number >= 0 && number < kHeldMax && fd >= 0) {
    close_held(number);
    held[number] = fd + 1;
  } else if (std::sscanf(text, "drop %d", &number) == 1) {
    close_held(number);
  } else if (std::sscanf(text, "guard %4095s %63s", freezer, freeze_value) == 2 && fd >= 0) {
    guarded = fd;
  } else if (std::strcmp(text, "done") == 0) {
    _exit(0);
  }
}

// False: the agent is gone.
bool receive() {
  char text[8192];
  iovec part{text, sizeof text - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  text[got] = '\0';
  int fd = -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  take(text, fd);
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
  for (bool agent = true;;) {
    pollfd items[2] = {{guarded, POLLIN, 0}, {agent ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(items, 2, -1) < 0 && errno != EINTR) return 1;
    if (guarded >= 0 && items[0].revents != 0) return 0;  // the container has ended
    if (items[1].revents == 0 || receive()) continue;
    agent = false;
    if (guarded < 0) return 0;  // it never ran
    freeze();
  }
}
