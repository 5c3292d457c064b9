// What runC finds as `criu` on its PATH when the agent runs it. It hands runC's end of the RPC socket to the agent,
// takes descriptors for the container's standard streams in return, and becomes the real criu, which then speaks
// with the agent (runtime/criu_bridge.h) instead of with runC. Because it execs, runC's child is criu itself, in the
// cgroup and with the descriptors that runC gave it.
//
// Exchange, on a SOCK_SEQPACKET connection to $GODWIT_CRIU_SOCKET:
//   stub → agent   "swrk", with runC's RPC socket
//   agent → stub   path of the real criu, NUL; environment variables for it, each NAME=VALUE and NUL; NUL; then one
//                  native int per descriptor passed: its number in criu
// The connection itself then is criu's RPC socket.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kFdsMax = 16;  // base/unix_socket.h: kPacketFdsMax

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "godwit's criu stub: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int connect_to_agent(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) die("socket path too long");
  std::strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die(path);
  return fd;
}

void send_rpc_socket(int agent, int rpc) {
  char text[] = "swrk";
  iovec part{text, 4};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &rpc, sizeof rpc);
  if (sendmsg(agent, &message, MSG_NOSIGNAL) < 0) die("send to the agent");
}

// Sets the environment variables from AT on; returns what comes after them, or END.
char* set_environment(char* at, char* end) {
  while (at < end && *at != '\0') {
    char* next = at + std::strlen(at) + 1;
    char* equals = std::strchr(at, '=');
    if (equals == nullptr) die("odd environment");
    *equals = '\0';
    if (setenv(at, equals + 1, 1) != 0) die("setenv");
    at = next;
  }
  return at < end ? at + 1 : end;
}

// Returns the real criu's path; sets the environment and puts the descriptors that came with it in their places.
char* receive_orders(int agent) {
  static char text[8192];
  iovec part{text, sizeof text - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = recvmsg(agent, &message, 0);
  if (got <= 0) die("the agent closed the connection");
  char* numbers = set_environment(text + std::strlen(text) + 1, text + got);

  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (count * sizeof(int) > static_cast<size_t>(text + got - numbers)) die("short message");
    for (size_t i = 0; i < count; ++i) {
      int fd;
      int number;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      std::memcpy(&number, numbers + i * sizeof(int), sizeof number);
      if (fd == number) continue;
      if (dup2(fd, number) < 0) die("dup2");
      close(fd);
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const char* socket_path = std::getenv("GODWIT_CRIU_SOCKET");
  if (socket_path == nullptr || argc != 3 || std::strcmp(argv[1], "swrk") != 0) {
    std::fprintf(stderr, "godwit's criu stub: to be started by runc under godwitd\n");
    return 1;
  }
  const int rpc = std::atoi(argv[2]);
  const int agent = connect_to_agent(socket_path);
  send_rpc_socket(agent, rpc);
  char* criu = receive_orders(agent);
  if (dup2(agent, rpc) < 0) die("dup2");  // without close-on-exec: criu's RPC socket
  unsetenv("GODWIT_CRIU_SOCKET");
  execv(criu, argv);
  die(criu);
}
