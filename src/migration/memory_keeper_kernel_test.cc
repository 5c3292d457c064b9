// The program that holds a container's userfaultfds beside the agent: when it lets go of them, and when it freezes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "memory/test_container.h"
#include "migration/memory_keeper.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

std::filesystem::path keeper_program() { return helpers_directory() / "memory_keeper"; }

// The keeper is given its write end in place of a userfaultfd: the read end tells when it has let go.
class Token {
 public:
  Token() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    read_ = ScopedFd(ends[0]);
    write_ = ScopedFd(ends[1]);
  }
  int fd() const { return write_.get(); }
  void keep_no_longer() { write_.reset(); }
  bool is_let_go() const { return is_closed(read_.get()); }
  bool is_held() const {
    pollfd item{read_.get(), POLLIN, 0};
    return ::poll(&item, 1, 0) == 0;
  }

 private:
  static bool is_closed(int fd) {
    pollfd item{fd, POLLIN, 0};
    return ::poll(&item, 1, 20'000) == 1 && (item.revents & POLLHUP) != 0;
  }
  ScopedFd read_, write_;
};

// An agent that does WORK with a keeper and then is there until it is killed.
class Agent {
 public:
  explicit Agent(const std::function<void(MemoryKeeper&)>& work)
      : process_([&] {
          auto keeper = must(MemoryKeeper::start(keeper_program()));
          work(*keeper);
          board_[0] = 1;
          ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
          for (;;) ::pause();
        }) {
    if (!await([&] { return board_[0] == 1; })) throw std::runtime_error("the agent did not come up");
  }
  void kill() {
    ::kill(process_.pid(), SIGKILL);
    process_.wait();
  }

 private:
  Board board_;
  TestProcess process_;
};

TEST(MemoryKeeper, LetsGoOfWhatIsDropped) {
  auto keeper = must(MemoryKeeper::start(keeper_program()));
  Token one, other;
  keeper->hold(1, one.fd());
  keeper->hold(2, other.fd());
  one.keep_no_longer();
  other.keep_no_longer();
  keeper->drop(1);
  EXPECT_TRUE(one.is_let_go());
  EXPECT_TRUE(other.is_held());
  keeper.reset();
  EXPECT_TRUE(other.is_let_go());
}

TEST(MemoryKeeper, ANumberThatIsUsedAgainReplacesWhatItWas) {
  auto keeper = must(MemoryKeeper::start(keeper_program()));
  Token one, other;
  keeper->hold(1, one.fd());
  keeper->hold(1, other.fd());
  one.keep_no_longer();
  other.keep_no_longer();
  EXPECT_TRUE(one.is_let_go());
  EXPECT_TRUE(other.is_held());
}

TEST(MemoryKeeper, EndsWithAnAgentWhoseContainerNeverRan) {
  Token token;
  Agent agent([&](MemoryKeeper& keeper) { keeper.hold(0, token.fd()); });
  token.keep_no_longer();
  EXPECT_TRUE(token.is_held());
  agent.kill();
  EXPECT_TRUE(token.is_let_go());
}

TEST(MemoryKeeper, FreezesTheContainerOfAnAgentThatDiesAndHoldsOnUntilItEnds) {
  for (const auto& [file, value] : {std::pair("cgroup.freeze", "1"), std::pair("freezer.state", "FROZEN")}) {
    const ScopedDirectory freezer;
    must(write_file(freezer / file, ""));
    TestProcess container([] { ::pause(); });
    Token token;
    Agent agent([&](MemoryKeeper& keeper) {
      keeper.hold(0, token.fd());
      must(keeper.guard(container.pid(), freezer.path()));
    });
    token.keep_no_longer();
    EXPECT_EQ(must(read_file(freezer / file)), "");
    agent.kill();
    EXPECT_TRUE(await([&] { return must(read_file(freezer / file)) == value; }));
    EXPECT_TRUE(token.is_held());
    ::kill(container.pid(), SIGKILL);
    container.wait();
    EXPECT_TRUE(token.is_let_go());
  }
}

TEST(MemoryKeeper, EndsWithTheContainer) {
  const ScopedDirectory freezer;
  TestProcess container([] { ::pause(); });
  auto keeper = must(MemoryKeeper::start(keeper_program()));
  Token token;
  keeper->hold(0, token.fd());
  token.keep_no_longer();
  must(keeper->guard(container.pid(), freezer.path()));
  ::kill(container.pid(), SIGKILL);
  EXPECT_TRUE(token.is_let_go());
}

TEST(MemoryKeeper, AContainerThatIsGoneCannotBeGuarded) {
  auto keeper = must(MemoryKeeper::start(keeper_program()));
  TestProcess container([] {});
  const pid_t pid = container.pid();
  container.wait();
  EXPECT_FALSE(keeper->guard(pid, "/nowhere"));
}

TEST(MemoryKeeper, AProgramThatIsMissingIsAnError) { EXPECT_FALSE(MemoryKeeper::start("/no/memory_keeper")); }

TEST(MemoryKeeper, WhatItDoesNotUnderstandItIgnores) {
  auto [ours, theirs] = packet_pair();
  must(run_checked({.argv = {keeper_program().string()}, .stdin_fd = theirs.get()}, std::chrono::seconds(10)));
  theirs.reset();
  Token token;
  must(send_packet(ours.get(), "hold 3", {token.fd()}));
  token.keep_no_longer();
  for (const std::string& odd :
       {std::string("hold -1"), std::string("hold 99999999999"), std::string("hold 3"), std::string("drop 65536"),
        std::string("drop x"), std::string("guard"), std::string("guard /a 1"), std::string(100'000, 'g'),
        std::string("guard ") + std::string(8000, 'x') + " 1"})
    must(send_packet(ours.get(), odd));
  must(send_packet(ours.get(), "hold 65536", {0}));
  must(send_packet(ours.get(), "drop 4"));
  EXPECT_TRUE(token.is_held());
  must(send_packet(ours.get(), "drop 3"));
  EXPECT_TRUE(token.is_let_go());
}

// The reason why there is a keeper: without it the page would read as zero now.
TEST(MemoryKeeper, AThreadThatTouchesAMissingPageGoesOnWaitingWhenTheAgentDies) {
  TestContainer container;
  Board board;
  auto [ours, theirs] = packet_pair();
  const pid_t pid = container.run([&] {
    void* area = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int uffd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{.range = {.start = reinterpret_cast<uint64_t>(area), .len = kPageBytes},
                          .mode = UFFDIO_REGISTER_MODE_MISSING,
                          .ioctls = 0};
    if (::ioctl(uffd, UFFDIO_API, &api) != 0 || ::ioctl(uffd, UFFDIO_REGISTER, &range) != 0) ::_exit(1);
    if (!send_packet(theirs.get(), "u", {uffd})) ::_exit(2);
    ::close(uffd);
    board[0] = 1;
    board[1] = *static_cast<volatile char*>(area);
    board[0] = 2;
    for (;;) ::pause();
  });
  Packet packet = hear_packet(ours.get());
  ASSERT_EQ(packet.fds.size(), 1u);
  Agent agent([&](MemoryKeeper& keeper) {
    keeper.hold(0, packet.fds[0].get());
    must(keeper.guard(pid, container.group()));
  });
  packet.fds.clear();
  EXPECT_TRUE(await([&] { return board[0] == 1; }));
  agent.kill();
  const auto freezer = must(CgroupFreezer::open(container.group()));
  EXPECT_TRUE(await([&] { return must(freezer.is_frozen()); }));
  must(freezer.thaw());
  container.freeze();  // a round trip of the thread through the kernel
  container.thaw();
  EXPECT_EQ(board[0], 1u);
}

}  // namespace
}  // namespace godwit
