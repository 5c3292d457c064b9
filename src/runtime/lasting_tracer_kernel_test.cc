// What CRIU does to a thread by way of the lens, broken off after each step by the death of who does it: the thread
// goes on with its own registers, code and signal mask.
#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <algorithm>

#include "base/scoped_fd.h"
#include "base/test_support.h"
#include "runtime/test_criu.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

enum Word { kCount, kTorn, kSteps, kFailed };

// The lens in a process that does what CRIU does, and the calls that it answers.
class Lens {
 public:
  explicit Lens(const std::string& directory) {
    ::setenv("GODWIT_LENS", directory.c_str(), 1);
    void* library = ::dlopen((helpers_directory() / "lens.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    find(library, "ptrace", trace);
    find(library, "wait4", wait);
    find(library, "setsockopt", set_option);
    find(library, "kill", kill);
  }
  bool set(int socket, int level, int option, int value) const {
    return set_option(socket, level, option, &value, sizeof value) == 0;
  }

  long (*trace)(int, ...);
  pid_t (*wait)(pid_t, int*, int, rusage*);
  int (*set_option)(int, int, int, const void*, socklen_t);
  int (*kill)(pid_t, int);

 private:
  template <typename Function>
  static void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
  }
};

// Called after each step of what CRIU does: it is killed after step LAST, and when one has not gone well.
class Steps {
 public:
  Steps(const Board& board, uint64_t last) : board_(board), last_(last) {}
  void operator()(bool well) {
    if (!well) board_[kFailed] = done_ + 1;
    board_[kSteps] = ++done_;
    if (!well || done_ > last_) ::raise(SIGKILL);
  }

 private:
  const Board& board_;
  const uint64_t last_;
  uint64_t done_ = 0;
};

// Integers and floating-point numbers in registers, which must agree.
void count(const Board& board) {
  double halves = 0;
  for (uint64_t number = 0;; ++number) {
    if (halves != static_cast<double>(number) / 2) board[kTorn] = 1;
    halves += 0.5;
    board[kCount] = number;
  }
}

// What CRIU does to have a thread make a system call, up to and with step LAST; then it is killed.
void inject_and_die(const Board& board, const std::string& directory, pid_t thread, uint64_t last) {
  const Lens lens(directory);
  Steps done(board, last);
  int status = 0;
  user_regs_struct own{}, other{};
  iovec registers{&own, sizeof own};
  const uint64_t own_mask = 0, all_but_trap = ~(uint64_t{1} << (SIGTRAP - 1));

  done(lens.trace(PTRACE_SEIZE, thread, 0L, 0L) == 0);
  done(lens.trace(PTRACE_INTERRUPT, thread, 0L, 0L) == 0);
  done(lens.wait(thread, &status, __WALL, nullptr) == thread && status >> 16 == PTRACE_EVENT_STOP);
  done(lens.trace(PTRACE_GETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  const long at = static_cast<long>(own.rip), code = lens.trace(PTRACE_PEEKDATA, thread, at, 0L);
  done(lens.trace(PTRACE_POKEDATA, thread, at, 0xcccccccccccc050fL) == 0 &&  // syscall, breakpoints
       lens.trace(PTRACE_PEEKDATA, thread, at, 0L) == static_cast<long>(0xcccccccccccc050f));
  done(lens.trace(PTRACE_SETSIGMASK, thread, long{sizeof all_but_trap}, &all_but_trap) == 0);
  other = own;
  other.rax = SYS_getppid;
  other.orig_rax = ~uint64_t{0};
  registers.iov_base = &other;
  done(lens.trace(PTRACE_SETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  done(lens.trace(PTRACE_CONT, thread, 0L, 0L) == 0);
  done(lens.wait(-1, &status, __WALL, nullptr) == thread && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
  done(lens.trace(PTRACE_GETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0 &&
       static_cast<pid_t>(other.rax) == ::getppid());
  registers.iov_base = &own;
  done(lens.trace(PTRACE_SETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  done(lens.trace(PTRACE_POKEDATA, thread, at, code) == 0);
  done(lens.trace(PTRACE_SETSIGMASK, thread, long{sizeof own_mask}, &own_mask) == 0);
  done(lens.trace(PTRACE_DETACH, thread, 0L, 0L) == 0);
  errno = 0;
  done(lens.trace(PTRACE_CONT, thread, 0L, 0L) == -1 && errno == ESRCH);
}

void expect_counting(const Board& board) {
  const uint64_t before = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > before + 1000; }));
}

TEST(LastingTracer, AThreadGoesOnWhereverCriuDies) {
  constexpr uint64_t kStepsOfAll = 15;
  ScopedDirectory lens;
  for (uint64_t last = 0; last < kStepsOfAll; ++last) {
    SCOPED_TRACE("dies after step " + std::to_string(last));
    Board board;
    TestProcess counter([&] { count(board); });
    expect_counting(board);
    const std::string mask = status_line(counter.pid(), "SigBlk");
    TestProcess criu([&] { inject_and_die(board, lens.path(), counter.pid(), last); });
    const int status = criu.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    EXPECT_EQ(board[kSteps], last + 1);
    EXPECT_EQ(board[kFailed], 0U);
    EXPECT_TRUE(await([&] { return status_line(counter.pid(), "TracerPid") == "0"; }));
    expect_counting(board);
    EXPECT_EQ(status_line(counter.pid(), "SigBlk"), mask);
    EXPECT_EQ(board[kTorn], 0U);
  }
}

// A connection with nothing to read, and a socket with an unread "ab".
struct Sockets {
  Sockets() {
    const ScopedFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    const int one = 1;
    connection.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int pair[2];
    if (::bind(listener.get(), any, length) != 0 || ::listen(listener.get(), 1) != 0 ||
        ::getsockname(listener.get(), any, &length) != 0 || ::connect(connection.get(), any, length) != 0 ||
        ::setsockopt(connection.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::runtime_error("sockets");
    other_end.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    unread.reset(pair[0]);
    writer.reset(pair[1]);
    if (::write(writer.get(), "ab", 2) != 2) throw std::runtime_error("write");
  }
  int option(int fd, int level, int name) const {
    int value = -2;
    socklen_t length = sizeof value;
    return ::getsockopt(fd, level, name, &value, &length) == 0 ? value : -2;
  }
  ScopedFd connection, other_end, unread, writer;
};

// Reads all the time what has to be there, and nothing else.
void read_sockets(const Board& board, const Sockets& sockets) {
  for (uint64_t number = 0;; ++number) {
    char byte = 0;
    if (::recv(sockets.connection.get(), &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN) board[kTorn] = 1;
    if (::recv(sockets.unread.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1 || byte != 'a') board[kTorn] = 2;
    board[kCount] = number;
  }
}

// What CRIU does to sockets of a container whose threads it has stopped, up to and with step LAST.
void change_sockets_and_die(const Board& board, const std::string& directory, pid_t thread, const Sockets& sockets,
                            uint64_t last) {
  const Lens lens(directory);
  Steps done(board, last);
  int status = 0;
  char bytes[2];
  const int copy = ::dup(sockets.connection.get());
  done(lens.trace(PTRACE_SEIZE, thread, 0L, 0L) == 0 && lens.trace(PTRACE_INTERRUPT, thread, 0L, 0L) == 0 &&
       lens.wait(thread, &status, __WALL, nullptr) == thread);
  done(lens.set(copy, IPPROTO_TCP, TCP_REPAIR, 1));
  done(lens.set(copy, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE));
  done(lens.set(sockets.unread.get(), SOL_SOCKET, SO_PEEK_OFF, 0));
  done(::recv(sockets.unread.get(), bytes, 2, MSG_DONTWAIT | MSG_PEEK) == 2);
  done(lens.set(sockets.unread.get(), SOL_SOCKET, SO_PEEK_OFF, -1));
  done(lens.set(copy, IPPROTO_TCP, TCP_REPAIR, 0) && lens.set(copy, SOL_SOCKET, SO_REUSEADDR, 1));
  done(lens.trace(PTRACE_DETACH, thread, 0L, 0L) == 0);
}

// What CRIU does to a container with one connection that has moved.
void kill_copy(const Board& board, const std::string& directory, pid_t thread, const Sockets& sockets) {
  const Lens lens(directory);
  const int copy = ::dup(sockets.connection.get());
  int status = 0;
  const bool well = lens.trace(PTRACE_SEIZE, thread, 0L, 0L) == 0 &&
                    lens.trace(PTRACE_INTERRUPT, thread, 0L, 0L) == 0 &&
                    lens.wait(thread, &status, __WALL, nullptr) == thread &&
                    lens.set(copy, IPPROTO_TCP, TCP_REPAIR, 1) && lens.kill(thread, SIGKILL) == 0;
  if (!well) board[kFailed] = 1;
}

TEST(LastingTracer, SocketsAreAsBeforeWhereverCriuDies) {
  constexpr uint64_t kStepsOfAll = 8;
  ScopedDirectory lens;
  for (uint64_t last = 0; last < kStepsOfAll; ++last) {
    SCOPED_TRACE("dies after step " + std::to_string(last));
    Board board;
    const Sockets sockets;
    TestProcess reader([&] { read_sockets(board, sockets); });
    expect_counting(board);
    TestProcess criu([&] { change_sockets_and_die(board, lens.path(), reader.pid(), sockets, last); });
    const int status = criu.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    EXPECT_EQ(board[kSteps], last + 1);
    EXPECT_EQ(board[kFailed], 0U);
    EXPECT_TRUE(await([&] { return status_line(reader.pid(), "TracerPid") == "0"; }));
    expect_counting(board);
    EXPECT_EQ(board[kTorn], 0U);
    EXPECT_EQ(sockets.option(sockets.connection.get(), IPPROTO_TCP, TCP_REPAIR), 0);
    EXPECT_EQ(sockets.option(sockets.connection.get(), SOL_SOCKET, SO_REUSEADDR), 1);
    EXPECT_EQ(sockets.option(sockets.unread.get(), SOL_SOCKET, SO_PEEK_OFF), -1);
  }
}

// A copy that goes on elsewhere ends here without a word to its peers.
TEST(LastingTracer, ConnectionsOfACopyThatCriuKillsEndSilently) {
  ScopedDirectory lens;
  Board board;
  Sockets sockets;
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const ScopedFd ours(pair[0]);
  ScopedFd theirs(pair[1]);
  TestProcess reader([&] {
    theirs.reset();
    read_sockets(board, sockets);
  });
  expect_counting(board);
  TestProcess criu([&] { kill_copy(board, lens.path(), reader.pid(), sockets); });
  theirs.reset();
  sockets.connection.reset();
  const int status = criu.wait();
  ASSERT_TRUE(WIFEXITED(status) && board[kFailed] == 0);
  (void)reader.wait();
  pollfd closed{.fd = ours.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&closed, 1, 5000), 1);  // so is the connection
  char byte = 0;
  EXPECT_TRUE(::recv(sockets.other_end.get(), &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

// Whoever waits for what CRIU had open is told when it has died.
TEST(LastingTracer, DescriptorsAreClosedWhenCriuDies) {
  ScopedDirectory lens;
  Board board;
  TestProcess counter([&] { count(board); });
  expect_counting(board);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const ScopedFd ours(pair[0]);
  ScopedFd theirs(pair[1]);
  TestProcess criu([&] { inject_and_die(board, lens.path(), counter.pid(), 7); });
  theirs.reset();
  (void)criu.wait();
  pollfd item{.fd = ours.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&item, 1, 5000), 1);
  EXPECT_TRUE((item.revents & POLLHUP) != 0);
  expect_counting(board);
}

// The table is shared from then on, and each time that it grew the kernel would wait for all processors.
TEST(LastingTracer, TheTableOfDescriptorsHasRoomBeforeItIsShared) {
  ScopedDirectory lens;
  Board board;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const uint64_t room = std::min<uint64_t>(limit.rlim_cur, 1 << 16);
  TestProcess counter([&] { count(board); });
  expect_counting(board);
  TestProcess criu([&] {
    const Lens library(lens.path());
    if (library.trace(PTRACE_SEIZE, counter.pid(), 0L, 0L) == 0) board[kSteps] = 1;
    ::pause();
  });
  ASSERT_TRUE(await([&] { return board[kSteps] == 1; }));
  EXPECT_GE(std::stoull(status_line(criu.pid(), "FDSize")), room);
}

}  // namespace
}  // namespace godwit
