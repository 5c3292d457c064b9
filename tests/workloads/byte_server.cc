// Sends or takes a stream as fast as the connection carries it: a client's first byte says which, 'd' to have it sent,
// 'u' to send it. What is taken is checked; at its end the client gets the number of bytes and "ok" or "wrong".
// byte_client is its counterpart.
#include <signal.h>

#include <thread>

#include "byte_stream.h"
#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

void send_stream(int fd) {
  std::string block(kBlockBytes, '\0');
  for (uint64_t sent = 0;; sent += block.size()) {
    make_block(sent, block);
    if (!write_all(fd, block)) return;
  }
}

void take_stream(int fd) {
  std::string block(kBlockBytes, '\0');
  uint64_t taken = 0;
  bool right = true;
  for (ssize_t n; (n = read(fd, block.data(), block.size())) > 0; taken += static_cast<uint64_t>(n))
    right &= is_stream(taken, block.data(), static_cast<size_t>(n));
  write_all(fd, std::to_string(taken) + (right ? " ok\n" : " wrong\n"));
}

void serve(int fd) {
  char direction = '?';
  if (read(fd, &direction, 1) == 1) direction == 'd' ? send_stream(fd) : take_stream(fd);
  close(fd);
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  using namespace godwit::workloads;
  signal(SIGPIPE, SIG_IGN);
  const Flags flags(argc, argv, {{"port", "7009"}});
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) std::thread(serve, fd).detach();
  }
}
