// A TCP server with little state: answers each line with the number of lines this connection has
// sent and the line itself. Keeps --resident-mib of touched memory, a pattern that it checks every
// time a client sends "verify" (the answer is "ok" or what is wrong); "clock" is answered with
// CLOCK_MONOTONIC and CLOCK_BOOTTIME in seconds. Prints "ready" when it listens. echo_client is its counterpart.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>

#include <cstring>
#include <map>
#include <span>
#include <string>

#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

uint64_t pattern(uint64_t i) {
  i = (i + 1) * 0x9e3779b97f4a7c15U;
  return i ^ (i >> 29);
}

std::string verdict(std::span<const uint64_t> memory) {
  for (size_t i = 0; i < memory.size(); ++i)
    if (memory[i] != pattern(i)) return "corrupt word " + std::to_string(i);
  return "ok";
}

std::string clocks() {
  std::string said;
  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
    timespec now{};
    clock_gettime(clock, &now);
    said += (said.empty() ? "" : " ") +
            std::to_string(static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9);
  }
  return said;
}

struct Peer {
  std::string pending;
  uint64_t lines = 0;
};

// False when the connection is over.
bool serve(int fd, Peer& peer, std::span<const uint64_t> memory) {
  char buffer[16384];
  ssize_t n = read(fd, buffer, sizeof buffer);
  if (n <= 0) return n < 0 && errno == EINTR;
  peer.pending.append(buffer, static_cast<size_t>(n));
  std::string reply;
  for (size_t end; (end = peer.pending.find('\n')) != std::string::npos;) {
    std::string line = peer.pending.substr(0, end);
    peer.pending.erase(0, end + 1);
    if (line == "verify")
      reply += verdict(memory) + "\n";
    else if (line == "clock")
      reply += clocks() + "\n";
    else
      reply += std::to_string(++peer.lines) + " " + line + "\n";
  }
  return write_all(fd, reply);
}

void watch(int ready, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  epoll_ctl(ready, EPOLL_CTL_ADD, fd, &event);
}

int run(int argc, char** argv) {
  Flags flags(argc, argv, {{"port", "7007"}, {"resident-mib", "16"}});
  size_t bytes = static_cast<size_t>(flags.number("resident-mib")) << 20;
  std::span<uint64_t> memory;
  if (bytes > 0) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return std::perror("mmap"), 1;
    memory = {static_cast<uint64_t*>(at), bytes / sizeof(uint64_t)};
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = pattern(i);
  }
  int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  std::map<int, Peer> peers;
  const int ready = epoll_create1(EPOLL_CLOEXEC);
  watch(ready, listener);
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;
  while (true) {
    epoll_event events[64];
    const int count = epoll_wait(ready, events, std::size(events), -1);
    for (int i = 0; i < count; ++i) {
      const int from = events[i].data.fd;
      if (from == listener) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        no_delay(fd);
        watch(ready, fd);
        peers[fd];
      } else if (!serve(from, peers[from], memory)) {
        peers.erase(from);
        close(from);
      }
    }
  }
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
