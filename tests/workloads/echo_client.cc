// Checks that an established connection to echo_server survives: one request in flight, each reply
// must carry the same line and the server's count for this connection, exactly one more than
// before; so a lost, doubled or reordered byte and a server whose memory went back in time are all
// seen. Measures the longest wait of any request. Never reconnects. Commands: control_loop.h, and
// `idle`, which sends a request over each of the --idle further connections, in use at no other time.
#include <netdb.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "control_loop.h"
#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

int connect_to(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    std::fprintf(stderr, "%s: %s\n", host.c_str(), gai_strerror(error));
    std::exit(1);
  }
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  freeaddrinfo(found);
  no_delay(fd);
  return fd;
}

class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}

  Status request() {
    ++sent_;
    std::string number = std::to_string(sent_);
    std::string line = "line " + number;
    if (!write_all(fd_, line + "\n")) return std::unexpected(std::string("send: ") + std::strerror(errno));
    std::string expected = number + " " + line + "\n";
    while (received_.find('\n') == std::string::npos) {
      char buffer[4096];
      ssize_t n = read(fd_, buffer, sizeof buffer);
      if (n == 0) return std::unexpected("closed by the server");
      if (n < 0) return std::unexpected(std::string("receive: ") + std::strerror(errno));
      received_.append(buffer, static_cast<size_t>(n));
    }
    if (received_ != expected)
      return std::unexpected("wrong reply: \"" + received_ + "\" instead of \"" + expected + "\"");
    received_.clear();
    return {};
  }

 private:
  int fd_;
  uint64_t sent_ = 0;
  std::string received_;
};

std::expected<nlohmann::json, std::string> use_each(std::vector<std::unique_ptr<Connection>>& idle) {
  for (size_t i = 0; i < idle.size(); ++i)
    if (Status used = idle[i]->request(); !used)
      return std::unexpected("idle connection " + std::to_string(i) + ": " + used.error());
  return nlohmann::json{{"alive", idle.size()}};
}

int run(int argc, char** argv) {
  Flags flags(argc, argv,
              {{"host", "127.0.0.1"}, {"port", "7007"}, {"connections", "1"}, {"idle", "0"}, {"pace-us", "500"}});
  const std::chrono::microseconds pace(flags.number("pace-us"));
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<std::unique_ptr<Prober>> probers;
  std::vector<int> fds;
  for (long i = 0; i < flags.number("connections"); ++i) {
    fds.push_back(connect_to(flags.text("host"), flags.text("port")));
    auto* connection = connections.emplace_back(std::make_unique<Connection>(fds.back())).get();
    probers.push_back(std::make_unique<Prober>(
        "connection " + std::to_string(i), [connection] { return connection->request(); }, pace));
  }
  std::vector<std::unique_ptr<Connection>> idle;
  for (long i = 0; i < flags.number("idle"); ++i) {
    fds.push_back(connect_to(flags.text("host"), flags.text("port")));
    idle.push_back(std::make_unique<Connection>(fds.back()));
  }
  for (size_t i = 0; i < probers.size(); ++i) probers[i]->start(pace * i / probers.size());
  ControlLoop::print({{"event", "ready"}, {"ok", true}, {"connections", fds.size()}});
  ControlLoop control(probers);
  control.add_command("idle", [&](const std::string&) { return use_each(idle); });
  int status = control.run();
  for (auto& prober : probers) prober->stop();
  for (int fd : fds) shutdown(fd, SHUT_RDWR);
  return status;
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // a broken connection is a finding, not an end
  return godwit::workloads::run(argc, argv);
}
