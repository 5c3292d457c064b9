// Preloaded into the criu process of a restore: what processes in a user namespace need and may not do.
//
// CRIU restores them as root of their namespace, which has no rights over the host. It lets a process of its own, which
// has, do some things, but not these (4.2):
//
//   - userfaultfd(2) of the kind that holds up the kernel's own accesses too needs CAP_SYS_PTRACE of the host, and has
//     to be called by the process whose memory it is to serve. /dev/userfaultfd makes them for whoever has it open.
//   - The network namespace, which is there before the user namespace, belongs to the host: setns(2) is refused. So the
//     first process is cloned in it, and what leads there later leads nowhere new.
//   - External mounts are bound from paths that may lead through directories it may not enter; and what it binds
//     itself has flags that it may not take away.
//   - TCP connections are restored with TCP_REPAIR, and a FIN with a raw socket: CAP_NET_ADMIN and CAP_NET_RAW there.
//
// The agent does them, or lends what is needed (runtime/privileged_service.h). CRIU connects to it while it is root of
// the host, and the processes it clones inherit the connection. The agent closes its end before any of them becomes the
// restored process, so nothing that runs in the container can ask. What was lent is closed in the call that needed it.
//
// CRIU closes what it does not know, and puts the container's descriptors at their numbers. The connection is left out
// of that, and steps aside for whatever is to have its number. Processes that share a table of descriptors have one
// each, and every process closes its own when it has made its userfaultfd, the last that it asks for.
//
// As the lens: only old symbols, nothing of C++'s.
#include "runtime/helpers/restored_userns.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/helpers/privileged_request.h"

namespace {

using godwit::PrivilegedAnswer;
using godwit::PrivilegedRequest;

constexpr unsigned long kNewUserfaultfd = 0xaa00;  // USERFAULTFD_IOC_NEW, Linux 6.1
// Above what most containers have open, and low enough that the table of descriptors need not grow for it.
constexpr int kFirstNumber = 64;

int agent = -1;         // the connection; -1: no user namespace, or closed
ino_t entered_net = 0;  // the network namespace that the clones are in

using Syscall = long (*)(long, ...);
Syscall libcs_syscall() {
  static Syscall found;
  if (found == nullptr) found = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  return found;
}

long system_call(long number, long first = 0, long second = 0, long third = 0, long fourth = 0) {
  return libcs_syscall()(number, first, second, third, fourth);
}

void close_really(int fd) {
  const int error = errno;
  if (fd >= 0) system_call(SYS_close, fd);
  errno = error;
}

void forget_agent() {
  close_really(agent);
  agent = -1;
}

int duplicate_agent(int from) {
  const int error = errno;
  const int other = static_cast<int>(system_call(SYS_fcntl, agent, F_DUPFD_CLOEXEC, from));
  errno = error;
  return other;
}

__attribute__((constructor)) void connect_to_agent() {
  const char* path = getenv(godwit::kPrivilegedVariable);
  sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  if (path == nullptr || strlen(path) >= sizeof address.sun_path) return;
  strcpy(address.sun_path, path);
  unsetenv(godwit::kPrivilegedVariable);
  agent = static_cast<int>(system_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC));
  if (agent < 0) return;
  const int high = connect(agent, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0
                       ? duplicate_agent(kFirstNumber)
                       : -1;
  forget_agent();
  agent = high;
}

// CRIU is about to use FD as a number of its own. Without a place to go to, the connection is lost: the restore fails.
void step_aside(int fd) {
  if (agent < 0 || fd != agent) return;
  const int other = duplicate_agent(fd + 1);
  forget_agent();
  agent = other;
}

// The descriptors go with what is sent; FDS has COUNT of them, at most two.
bool send_request(const PrivilegedRequest& request, const int* fds, size_t count) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  memset(control, 0, sizeof control);
  iovec part = {const_cast<PrivilegedRequest*>(&request), sizeof request};
  msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  return system_call(SYS_sendmsg, agent, reinterpret_cast<long>(&message), MSG_NOSIGNAL) == sizeof request;
}

// What came with it, 0 if nothing did and nothing had to; -1 and errno.
int receive_answer(int from) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  PrivilegedAnswer answer;
  iovec part = {&answer, sizeof answer};
  msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (system_call(SYS_recvmsg, from, reinterpret_cast<long>(&message), MSG_CMSG_CLOEXEC) != sizeof answer) {
    errno = EPERM;  // the agent has gone
    return -1;
  }
  if (answer.error != 0) {
    errno = answer.error;
    return -1;
  }
  int fd = 0;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof fd))
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

// Of what comes back, as receive_answer(). Several processes ask over the one connection: each has its own answer.
int ask(const PrivilegedRequest& request, int subject = -1) {
  int ends[2];
  if (system_call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, reinterpret_cast<long>(ends)) != 0)
    return -1;
  const int fds[2] = {ends[1], subject};
  const bool sent = send_request(request, fds, subject < 0 ? 1 : 2);
  close_really(ends[1]);
  const int answer = sent ? receive_answer(ends[0]) : -1;
  close_really(ends[0]);
  return answer;
}

int ask(PrivilegedRequest::Kind kind, int value = 0, int subject = -1) {
  PrivilegedRequest request;
  memset(&request, 0, sizeof request);
  request.kind = kind;
  request.value = value;
  return ask(request, subject);
}

// CRIU tries the call as it starts, without flags, and then in each process that it restores, with flags.
long new_userfaultfd(long flags) {
  long made = system_call(SYS_userfaultfd, flags);
  if (made < 0 && userns::was_refused()) {
    const int device = ask(PrivilegedRequest::kUserfaultfdDevice);
    if (device > 0) made = system_call(SYS_ioctl, device, kNewUserfaultfd, flags);
    if (device > 0) close_really(device);
  }
  if (flags != 0) forget_agent();
  return made;
}

// The first process of a user namespace: its parent still may enter the network namespace that it is to be in.
long clone_in_network_namespace(long arguments, long size) {
  const int target = ask(PrivilegedRequest::kNetworkNamespace);
  struct stat entry;
  const int here = static_cast<int>(
      system_call(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/ns/net"), O_RDONLY | O_CLOEXEC));
  if (target <= 0 || here < 0 || fstat(target, &entry) != 0 || system_call(SYS_setns, target, CLONE_NEWNET) != 0)
    return -1;
  entered_net = entry.st_ino;
  const long result = system_call(SYS_clone3, arguments, size);
  if (result != 0 && system_call(SYS_setns, here, CLONE_NEWNET) != 0) abort();  // criu would work in the container's
  close_really(target);
  close_really(here);
  return result;
}

// CRIU binds mounts of its own by it as well: those are at paths that the agent does not know, and it may.
long open_mount(int directory, const char* path, unsigned flags) {
  PrivilegedRequest request;
  memset(&request, 0, sizeof request);
  request.kind = PrivilegedRequest::kMount;
  if (agent >= 0 && directory == AT_FDCWD && (flags & OPEN_TREE_CLONE) != 0 && strlen(path) < sizeof request.path) {
    strcpy(request.path, path);
    const int made = ask(request);
    if (made > 0) return made;
  }
  return system_call(SYS_open_tree, directory, reinterpret_cast<long>(path), flags);
}

long clone_process(long arguments, long size) {
  const auto* wanted = reinterpret_cast<const clone_args*>(arguments);
  if (agent >= 0 && (wanted->flags & CLONE_NEWUSER) != 0) return clone_in_network_namespace(arguments, size);
  const long result = system_call(SYS_clone3, arguments, size);
  if (result == 0 && agent >= 0 && (wanted->flags & CLONE_FILES) != 0) agent = duplicate_agent(kFirstNumber);
  return result;
}

}  // namespace

namespace userns {

bool is_connection(int fd) { return agent >= 0 && fd == agent; }

bool was_refused() { return agent >= 0 && errno == EPERM; }

int set_tcp_repair(int fd, int value) { return ask(PrivilegedRequest::kTcpRepair, value, fd) < 0 ? -1 : 0; }

int raw_socket(int domain) { return ask(PrivilegedRequest::kRawSocket, domain); }

}  // namespace userns

extern "C" {

__attribute__((visibility("default"))) int dup2(int fd, int wanted) noexcept {
  step_aside(wanted);
  return static_cast<int>(system_call(SYS_dup2, fd, wanted));
}

__attribute__((visibility("default"))) int dup3(int fd, int wanted, int flags) noexcept {
  step_aside(wanted);
  return static_cast<int>(system_call(SYS_dup3, fd, wanted, flags));
}

__attribute__((visibility("default"))) int fcntl64(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  step_aside(fd);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) step_aside(static_cast<int>(argument));
  return static_cast<int>(system_call(SYS_fcntl, fd, command, argument));
}

__attribute__((visibility("default"))) int setns(int fd, int type) noexcept {
  struct stat entry;
  if (type == CLONE_NEWNET && entered_net != 0 && fstat(fd, &entry) == 0 && entry.st_ino == entered_net) return 0;
  return static_cast<int>(system_call(SYS_setns, fd, type));
}

__attribute__((visibility("default"))) int socket(int domain, int type, int protocol) noexcept {
  const int made = static_cast<int>(system_call(SYS_socket, domain, type, protocol));
  if (made < 0 && type == SOCK_RAW && protocol == IPPROTO_RAW && userns::was_refused())
    return userns::raw_socket(domain);
  return made;
}

// CRIU makes the calls this way that libc has no function for, among them userfaultfd and clone3.
__attribute__((visibility("default"))) long syscall(long number, ...) noexcept {
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_userfaultfd) return new_userfaultfd(arguments[0]);
  if (number == SYS_open_tree)
    return open_mount(static_cast<int>(arguments[0]), reinterpret_cast<const char*>(arguments[1]),
                      static_cast<unsigned>(arguments[2]));
  if (number == SYS_clone3) return clone_process(arguments[0], arguments[1]);
  return libcs_syscall()(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

}  // extern "C"
