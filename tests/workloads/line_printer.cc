// Checks the standard streams: writes "out N" to standard output and "err N" to standard error
// every
// --interval-us, N from 1 without a gap, so whoever reads them sees a lost, doubled or misplaced
// line. With --echo 1 it also answers each line of standard input with "in LINE" on standard
// output. Ends with "end N" on both at SIGTERM, with exit status 0; ends with 1 when a stream takes
// no more.
// --count N: stop by itself after N lines.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <string>

#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

int interval_timer(long interval_us) {
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  timespec every{interval_us / 1000000, interval_us % 1000000 * 1000};
  itimerspec spec{every, every};
  if (fd < 0 || timerfd_settime(fd, 0, &spec, nullptr) != 0) {
    std::perror("timerfd");
    std::exit(1);
  }
  return fd;
}

int termination_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  int fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (fd < 0) {
    std::perror("signalfd");
    std::exit(1);
  }
  return fd;
}

class Printer {
 public:
  bool print(const char* out, const char* err) const {
    std::string number = std::to_string(lines_) + "\n";
    return write_all(STDOUT_FILENO, out + number) && write_all(STDERR_FILENO, err + number);
  }
  bool next_line() {
    ++lines_;
    return print("out ", "err ");
  }
  bool end() const { return print("end ", "end "); }
  // False when standard input has ended.
  bool echo_input() {
    char buffer[4096];
    ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n <= 0) return false;
    pending_.append(buffer, static_cast<size_t>(n));
    for (size_t end; (end = pending_.find('\n')) != std::string::npos;) {
      if (!write_all(STDOUT_FILENO, "in " + pending_.substr(0, end + 1))) std::exit(1);
      pending_.erase(0, end + 1);
    }
    return true;
  }
  long lines() const { return lines_; }

 private:
  long lines_ = 0;
  std::string pending_;
};

int run(int argc, char** argv) {
  Flags flags(argc, argv, {{"interval-us", "1000"}, {"echo", "0"}, {"count", "0"}});
  long count = flags.number("count");
  pollfd polled[] = {{interval_timer(flags.number("interval-us")), POLLIN, 0},
                     {termination_signal(), POLLIN, 0},
                     {flags.number("echo") ? STDIN_FILENO : -1, POLLIN, 0}};
  Printer printer;
  while (true) {
    if (poll(polled, 3, -1) < 0) continue;  // EINTR
    if (polled[1].revents) return printer.end() ? 0 : 1;
    if (polled[2].revents && !printer.echo_input()) polled[2].fd = -1;
    if (polled[0].revents) {
      uint64_t expirations;
      if (read(polled[0].fd, &expirations, sizeof expirations) < 0) continue;
      if (!printer.next_line()) return 1;
      if (printer.lines() == count) return printer.end() ? 0 : 1;
    }
  }
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
