// Keeps sockets of every kind, and does with them what it is told: one command a line, one answer a line, "ok" and the
// results, or "error NAME-OF-ERRNO". tests/support/socket_zoo.py speaks to it and checks what comes back, so one test
// holds both ends of a connection, on whatever hosts they are. With --port it serves lines over TCP and can be
// migrated; without, it reads standard input. Everything that is bytes (data, addresses, options) is in hexadecimal,
// "-" if empty. Sockets are non-blocking and named by their descriptors.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <vector>

#include "flags.h"
#include "line_server.h"

namespace godwit::workloads {
namespace {

constexpr size_t kMessageBytesMax = 1 << 20;

std::string to_hex(const void* data, size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = size == 0 ? "-" : "";
  for (size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<const unsigned char*>(data)[i];
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; text != "-" && i + 1 < text.size(); i += 2)
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes;
}

// Words of a command, read in order.
class Words {
 public:
  explicit Words(const std::string& line) : in_(line) {}
  long number() {
    long value = -1;
    in_ >> value;
    return value;
  }
  int fd() { return static_cast<int>(number()); }
  std::string bytes() { return from_hex(word()); }
  std::string word() {
    std::string text;
    in_ >> text;
    return text;
  }

 private:
  std::istringstream in_;
};

std::string failed() { return std::string("error ") + strerrorname_np(errno); }
std::string done(long result) { return result < 0 ? failed() : "ok " + std::to_string(result); }
const sockaddr* as_sockaddr(const std::string& bytes) { return reinterpret_cast<const sockaddr*>(bytes.data()); }
auto length(const std::string& bytes) { return static_cast<socklen_t>(bytes.size()); }

// Byte I of the endless stream that fill() sends and match() expects.
char pattern(uint64_t i) { return static_cast<char>((i * 2654435761U) >> 13); }

// Sends the stream from its beginning until the socket takes no more.
std::string fill(int fd) {
  uint64_t sent = 0;
  for (std::string block(65536, '\0');;) {
    for (size_t i = 0; i < block.size(); ++i) block[i] = pattern(sent + i);
    const ssize_t n = send(fd, block.data(), block.size(), 0);
    if (n < 0) return errno == EAGAIN ? done(static_cast<long>(sent)) : failed();
    sent += static_cast<uint64_t>(n);
  }
}

bool await(int fd, short events, long timeout_ms) {
  pollfd waited{.fd = fd, .events = events, .revents = 0};
  return poll(&waited, 1, static_cast<int>(timeout_ms)) > 0;
}

// Receives COUNT bytes, which must be those of the stream; 0 of them missing is "ok 0".
std::string match(int fd, uint64_t count, long timeout_ms) {
  std::string block(65536, '\0');
  for (uint64_t received = 0; received < count;) {
    if (!await(fd, POLLIN, timeout_ms)) return "ok " + std::to_string(count - received);
    const ssize_t n = recv(fd, block.data(), std::min<uint64_t>(block.size(), count - received), 0);
    if (n < 0) return failed();
    if (n == 0) return "ok " + std::to_string(count - received);
    for (ssize_t i = 0; i < n; ++i)
      if (block[static_cast<size_t>(i)] != pattern(received + static_cast<uint64_t>(i))) return "error EILSEQ";
    received += static_cast<uint64_t>(n);
  }
  return "ok 0";
}

// The answer is the data, who sent it, and what descriptor came along (-1: none).
std::string receive(int fd, int flags, size_t size, long timeout_ms) {
  if (!await(fd, POLLIN | (flags & MSG_OOB ? POLLPRI : 0), timeout_ms)) return "error EAGAIN";
  std::string data(std::min(size, kMessageBytesMax), '\0');
  char control[CMSG_SPACE(sizeof(int))] = {};
  sockaddr_storage from{};
  iovec part{data.data(), data.size()};
  msghdr message{&from, sizeof from, &part, 1, control, sizeof control, 0};
  const ssize_t n = recvmsg(fd, &message, flags);
  if (n < 0) return failed();
  int passed = -1;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header && header->cmsg_type == SCM_RIGHTS)
    std::memcpy(&passed, CMSG_DATA(header), sizeof passed);
  return "ok " + to_hex(data.data(), static_cast<size_t>(n)) + " " + to_hex(&from, message.msg_namelen) + " " +
         std::to_string(passed);
}

std::string send_fd(int fd, int passed, const std::string& data) {
  char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{const_cast<char*>(data.data()), data.size()};
  msghdr message{nullptr, 0, &part, 1, control, sizeof control, 0};
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = {CMSG_LEN(sizeof passed), SOL_SOCKET, SCM_RIGHTS};
  std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
  return done(sendmsg(fd, &message, 0));
}

std::string name_of(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (ask(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return failed();
  return "ok " + to_hex(&address, size);
}

// IN gives the option's value so far, which some options read.
std::string get_option(int fd, int level, int option, std::string in) {
  auto size = length(in);
  if (getsockopt(fd, level, option, in.data(), &size) != 0) return failed();
  return "ok " + to_hex(in.data(), size);
}

std::string pair(int family, int type) {
  int ends[2];
  if (socketpair(family, type | SOCK_NONBLOCK, 0, ends) != 0) return failed();
  return "ok " + std::to_string(ends[0]) + " " + std::to_string(ends[1]);
}

std::string ask_number(int fd, unsigned long request) {
  int value = 0;
  return ioctl(fd, request, &value) != 0 ? failed() : done(value);
}

// What is ready of EVENTS, within the time.
std::string poll_for(int fd, short events, long timeout_ms) {
  pollfd waited{.fd = fd, .events = events, .revents = 0};
  return poll(&waited, 1, static_cast<int>(timeout_ms)) < 0 ? failed() : done(waited.revents);
}

using Command = std::function<std::string(Words&)>;

// Arguments are read in separate statements: the order of evaluation inside a call is anyone's.
const std::map<std::string, Command>& commands() {
  static const std::map<std::string, Command> all = {
      {"socket",
       [](Words& w) {
         const int family = w.fd(), type = w.fd(), protocol = w.fd();
         return done(socket(family, type | SOCK_NONBLOCK, protocol));
       }},
      {"pair",
       [](Words& w) {
         const int family = w.fd(), type = w.fd();
         return pair(family, type);
       }},
      {"bind",
       [](Words& w) {
         const int fd = w.fd();
         const std::string address = w.bytes();
         return done(bind(fd, as_sockaddr(address), length(address)));
       }},
      {"connect",
       [](Words& w) {
         const int fd = w.fd();
         const std::string address = w.bytes();
         const int result = connect(fd, as_sockaddr(address), length(address));
         return result != 0 && errno == EINPROGRESS ? done(1) : done(result);
       }},
      {"listen",
       [](Words& w) {
         const int fd = w.fd(), backlog = w.fd();
         return done(listen(fd, backlog));
       }},
      {"accept",
       [](Words& w) {
         const int fd = w.fd();
         await(fd, POLLIN, w.number());
         return done(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK));
       }},
      {"send",
       [](Words& w) {
         const int fd = w.fd(), flags = w.fd();
         const std::string data = w.bytes(), to = w.bytes();
         return done(sendto(fd, data.data(), data.size(), flags, to.empty() ? nullptr : as_sockaddr(to), length(to)));
       }},
      {"receive",
       [](Words& w) {
         const int fd = w.fd(), flags = w.fd();
         const auto size = static_cast<size_t>(w.number());
         return receive(fd, flags, size, w.number());
       }},
      {"sendfd",
       [](Words& w) {
         const int fd = w.fd(), passed = w.fd();
         return send_fd(fd, passed, w.bytes());
       }},
      {"fill", [](Words& w) { return fill(w.fd()); }},
      {"match",
       [](Words& w) {
         const int fd = w.fd();
         const auto count = static_cast<uint64_t>(w.number());
         return match(fd, count, w.number());
       }},
      {"shutdown",
       [](Words& w) {
         const int fd = w.fd(), how = w.fd();
         return done(shutdown(fd, how));
       }},
      {"close", [](Words& w) { return done(close(w.fd())); }},
      {"set",
       [](Words& w) {
         const int fd = w.fd(), level = w.fd(), option = w.fd();
         const std::string value = w.bytes();
         return done(setsockopt(fd, level, option, value.data(), length(value)));
       }},
      {"get",
       [](Words& w) {
         const int fd = w.fd(), level = w.fd(), option = w.fd();
         return get_option(fd, level, option, w.bytes());
       }},
      {"own", [](Words& w) { return done(fcntl(w.fd(), F_SETOWN, getpid())); }},
      {"name", [](Words& w) { return name_of(w.fd(), getsockname); }},
      {"peer", [](Words& w) { return name_of(w.fd(), getpeername); }},
      {"ask",
       [](Words& w) {
         const int fd = w.fd();
         return ask_number(fd, static_cast<unsigned long>(w.number()));
       }},
      {"poll",
       [](Words& w) {
         const int fd = w.fd(), events = w.fd();
         return poll_for(fd, static_cast<short>(events), w.number());
       }},
  };
  return all;
}

std::string answer(const std::string& line) {
  Words words(line);
  const auto found = commands().find(words.word());
  return found == commands().end() ? "error ENOSYS" : found->second(words);
}

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"port", "0"}});
  if (flags.number("port") > 0) serve_lines(listen_on(static_cast<uint16_t>(flags.number("port"))), answer);
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(line) << std::endl;
  return 0;
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
