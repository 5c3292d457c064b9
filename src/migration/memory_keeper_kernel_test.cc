// The program that holds a container's userfaultfds beside the agent: when it lets go of them, and when it freezes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <thread>

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

// A container that is guarded, and an agent that was killed.
class MemoryKeeperTakeover : public testing::Test {
 protected:
  MemoryKeeperTakeover() {
    must(write_file(directory_ / "cgroup.freeze", ""));
    const ScopedFd log(::memfd_create("log", MFD_CLOEXEC));
    must(write_all(log.get(), "what was"));
    Agent agent([&](MemoryKeeper& keeper) {
      must(keeper.be_found_at(socket_, kId));
      keeper.hold_log(log.get());
      keeper.hold(0, zero_.fd());
      keeper.hold(70, other_.fd());
      keeper.drop(1);
      must(keeper.guard(container_.pid(), directory_.path()));
    });
    zero_.keep_no_longer();
    other_.keep_no_longer();
    agent.kill();
  }
  bool await_frozen() {
    return await([&] { return must(read_file(directory_ / "cgroup.freeze")) == "1"; });
  }

  static constexpr const char* kId = "00112233445566aa";
  ScopedDirectory directory_;
  const std::filesystem::path socket_ = directory_ / "keeper.sock";
  TestProcess container_{[] { ::pause(); }};
  Token zero_, other_;
};

TEST_F(MemoryKeeperTakeover, TheNextAgentGetsAllThatIsHeld) {
  MemoryKeeper::Kept kept;
  auto keeper = must(MemoryKeeper::find(socket_, kId, kept));
  EXPECT_TRUE(await_frozen());
  std::string said(64, '\0');
  said.resize(static_cast<size_t>(std::max<ssize_t>(0, ::pread(kept.log.get(), said.data(), said.size(), 0))));
  EXPECT_EQ(said, "what was");
  ASSERT_EQ(kept.uffds.size(), 2u);
  EXPECT_TRUE(kept.uffds.contains(0) && kept.uffds.contains(70));
  kept.uffds.clear();
  keeper->drop(70);
  EXPECT_TRUE(other_.is_let_go());
  EXPECT_TRUE(zero_.is_held());
  keeper->done();
  EXPECT_TRUE(zero_.is_let_go());
}

TEST_F(MemoryKeeperTakeover, TheOneAfterItAsWell) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(await_frozen());
    must(write_file(directory_ / "cgroup.freeze", "0"));
    MemoryKeeper::Kept kept;
    auto keeper = must(MemoryKeeper::find(socket_, kId, kept));
    EXPECT_EQ(kept.uffds.size(), 2u);
    must(write_file(directory_ / "cgroup.freeze", ""));
  }
  EXPECT_TRUE(await_frozen());  // again, since the last one is gone
  EXPECT_TRUE(zero_.is_held());
}

TEST_F(MemoryKeeperTakeover, WhoAsksForAnotherMigrationGetsNothing) {
  MemoryKeeper::Kept kept;
  EXPECT_FALSE(MemoryKeeper::find(socket_, "00112233445566ab", kept));
  EXPECT_TRUE(kept.uffds.empty() && !kept.log);
  EXPECT_TRUE(MemoryKeeper::find(socket_, kId, kept));
}

TEST_F(MemoryKeeperTakeover, WhoSaysSomethingElseFirstGetsNothing) {
  for (const std::string& odd : {std::string("take"), std::string("take 00112233445566aa "), std::string("done"),
                                 std::string("drop 0"), std::string(8191, 'x'), std::string(20'000, 'x')}) {
    const ScopedFd stranger = must(connect_unix(socket_, SOCK_SEQPACKET));
    (void)send_packet(stranger.get(), odd);
    EXPECT_FALSE(receive_packet(stranger.get())) << odd.substr(0, 40);
  }
  {
    const ScopedFd silent = must(connect_unix(socket_, SOCK_SEQPACKET));
  }
  MemoryKeeper::Kept kept;
  EXPECT_TRUE(MemoryKeeper::find(socket_, kId, kept));
  EXPECT_EQ(kept.uffds.size(), 2u);
}

TEST_F(MemoryKeeperTakeover, AnotherUserGetsNothing) {
  must(run_checked({.argv = {"/bin/chmod", "0777", socket_.string(), directory_.path().string()}},
                   std::chrono::seconds(10)));
  TestProcess stranger([&] {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(9);
    MemoryKeeper::Kept kept;
    ::_exit(MemoryKeeper::find(socket_, kId, kept) ? 1 : 0);
  });
  EXPECT_EQ(stranger.wait(), 0);
}

TEST(MemoryKeeper, AKeeperThatSaysSomethingOddIsNotBelieved) {
  const ScopedDirectory directory;
  const ScopedFd listener = must(listen_unix(directory / "s", SOCK_SEQPACKET));
  for (const auto& [odd, descriptors] :
       {std::pair("held x", 1), std::pair("held -1", 1), std::pair("held 1", 0), std::pair("held 1 ", 1),
        std::pair("log", 2), std::pair("end", 1), std::pair("", 0), std::pair("more", 1)}) {
    std::jthread keeper([&] {
      const ScopedFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      (void)receive_packet(connection.get());
      (void)send_packet(connection.get(), odd, std::vector<int>(descriptors, 0));
    });
    MemoryKeeper::Kept kept;
    EXPECT_FALSE(MemoryKeeper::find(directory / "s", "x", kept)) << odd;
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
