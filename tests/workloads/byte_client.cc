// One connection to byte_server that is full all the time. A request is a block sent (--direction up) or received and
// checked (down), so the longest wait is the longest time in which the stream stood still. Commands: control_loop.h;
// in the end the server tells how much it got, which must be what was sent.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>

#include <cstring>

#include "byte_stream.h"
#include "control_loop.h"
#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

int connect_to(const std::string& host, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  return fd;
}

class Stream {
 public:
  Stream(int fd, bool up) : fd_(fd), up_(up), block_(kBlockBytes, '\0') {
    // Without it a write waits until a third of the send buffer is free: 10 ms at 1 Gbit/s, in which the stream flows.
    const int unsent_bytes_max = 128 << 10;
    (void)setsockopt(fd_, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes_max, sizeof unsent_bytes_max);
    if (!write_all(fd_, up ? "u" : "d")) std::perror("send");
  }

  Status step() { return up_ ? send_block() : receive_block(); }

  // After the last step: what the server has to say about what it took.
  Status finish() {
    if (!up_) return {};
    shutdown(fd_, SHUT_WR);
    char text[64] = {};
    if (read(fd_, text, sizeof text - 1) <= 0) return std::unexpected("no verdict from the server");
    if (std::to_string(bytes_) + " ok\n" == text) return {};
    return std::unexpected("sent " + std::to_string(bytes_) + " bytes, the server says " + text);
  }

  uint64_t bytes() const { return bytes_; }

 private:
  Status send_block() {
    make_block(bytes_, block_);
    if (!write_all(fd_, block_)) return std::unexpected(std::string("send: ") + std::strerror(errno));
    bytes_ += block_.size();
    return {};
  }

  Status receive_block() {
    const ssize_t n = read(fd_, block_.data(), block_.size());
    if (n <= 0) return std::unexpected(n == 0 ? "closed by the server" : std::strerror(errno));
    if (!is_stream(bytes_, block_.data(), static_cast<size_t>(n))) return std::unexpected("wrong bytes");
    bytes_ += static_cast<uint64_t>(n);
    return {};
  }

  int fd_;
  bool up_;
  std::string block_;
  uint64_t bytes_ = 0;
};

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"host", "127.0.0.1"}, {"port", "7009"}, {"direction", "down"}});
  const int fd = connect_to(flags.text("host"), static_cast<uint16_t>(flags.number("port")));
  Stream stream(fd, flags.text("direction") == "up");
  std::vector<std::unique_ptr<Prober>> probers;
  probers.push_back(std::make_unique<Prober>("stream", [&] { return stream.step(); }, std::chrono::microseconds(0)));
  probers[0]->start();
  ControlLoop::print({{"event", "ready"}, {"ok", true}, {"connections", 1}});
  ControlLoop control(probers);
  // Stops the stream and has it checked; nothing else can be measured after it.
  control.add_command("finish", [&](const std::string&) -> std::expected<nlohmann::json, std::string> {
    const Status right = probers[0]->run([&] {
      probers[0]->stop();
      return stream.finish();
    });
    if (!right) return std::unexpected(right.error());
    return nlohmann::json{{"bytes", stream.bytes()}};
  });
  const int status = control.run();
  probers[0]->stop();
  shutdown(fd, SHUT_RDWR);
  return status;
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
