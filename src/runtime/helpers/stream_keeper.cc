// Holds the outer end of a migrated container's pipe or terminal and appends what comes out of it to a log file.
// A process of its own, so that the agent may end without the container losing its standard output.
//
//   stream_keeper LOG      standard input is a pipe's reading end or the master of a terminal: read until it is closed
//   stream_keeper --hold   standard input is a pipe's writing end: held open until nobody reads it any more
//
// It goes to the background once the log is open, so its starter learns by the exit status whether that worked.
// If the log cannot be written (disk full), output is dropped rather than blocking the container; the number of
// bytes dropped is written as soon as writing works again.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace {

bool write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t put = write(fd, data, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    data += put;
    size -= static_cast<size_t>(put);
  }
  return true;
}

// The starter waits for the process it started; the one that stays is a grandchild in a session of its own.
void go_to_background() {
  if (fork() != 0) _exit(0);
  setsid();
  setpriority(PRIO_PROCESS, 0, 0);  // the agent's is not for this
  if (fork() != 0) _exit(0);
  if (chdir("/") != 0) _exit(1);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, STDOUT_FILENO);
  dup2(null, STDERR_FILENO);
  if (null > STDERR_FILENO) close(null);
}

int hold() {
  go_to_background();
  pollfd item{STDIN_FILENO, 0, 0};
  while (poll(&item, 1, -1) < 0 && errno == EINTR) {
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: stream_keeper LOG|--hold\n");
    return 2;
  }
  for (int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) signal(number, SIG_IGN);
  if (std::strcmp(argv[1], "--hold") == 0) return hold();
  int log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (log < 0) {
    std::fprintf(stderr, "stream_keeper: %s: %s\n", argv[1], std::strerror(errno));
    return 1;
  }
  go_to_background();
  static char buffer[65536];
  unsigned long long dropped = 0;
  for (;;) {
    ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      pollfd item{STDIN_FILENO, POLLIN, 0};
      poll(&item, 1, -1);
      continue;
    }
    if (got <= 0) return 0;  // EIO: the last user of the terminal is gone
    if (dropped > 0) {
      char note[96];
      int length = std::snprintf(note, sizeof note, "\n[godwit: %llu bytes lost, log not writable]\n", dropped);
      if (write_all(log, note, static_cast<size_t>(length))) dropped = 0;
    }
    if (!write_all(log, buffer, static_cast<size_t>(got))) dropped += static_cast<size_t>(got);
  }
}
