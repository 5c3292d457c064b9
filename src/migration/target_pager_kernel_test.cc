// godwit-pager, the real program, as agents that live and die have it: when it goes on, and when it ends.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "base/file.h"
#include "base/identifier.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "kernel/pidfd.h"
#include "memory/test_container.h"
#include "migration/target_memory.h"
#include "migration/target_pager.h"
#include "migration/test_memory_link.h"
#include "runtime/test_criu.h"
#include "transport/data_listener.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

class TargetPagerTest : public testing::Test {
 protected:
  TargetPagerTest() {
    ::setenv(kMark, mark_.c_str(), 1);
    must(make_directories(cgroup_));
    must(write_file(cgroup_ / "cgroup.freeze", "0"));
    must(write_file(cgroup_ / "cgroup.procs", std::to_string(process_.pid()) + "\n"));
  }

  PagerSettings settings() {
    return {.program = helpers_directory() / "godwit-pager",
            .keeper = helpers_directory() / "memory_keeper",
            .tls = tls_,
            .peers = {"node1"}};
  }
  TargetPager::Arrival arrival() {
    return {.directory = directory_.path(), .id = test_hello().migration_id, .source = "node1", .bytes_max = 64 << 20};
  }
  TargetPager::Container container() { return {process_.pid(), cgroup_}; }
  Result<std::unique_ptr<TargetPager>> create(std::function<void()> on_failure = nullptr) {
    return TargetPager::create(settings(), arrival(),
                               {.streams = 1,
                                .socket = directory_ / "lazy-pages.socket",
                                .token = test_hello().token,
                                .on_failure = std::move(on_failure)});
  }
  Result<std::unique_ptr<TargetPager>> find() { return TargetPager::find(settings(), arrival(), container()); }

  // An agent that does WORK and then is killed.
  void be_agent(const std::function<void()>& work) {
    Board board;
    TestProcess agent([&] {
      work();
      board[0] = 1;
      for (;;) ::pause();
    });
    ASSERT_TRUE(await([&] { return board[0] == 1; }));
    ::kill(agent.pid(), SIGKILL);
    agent.wait();
  }

  // Of this test's.
  std::vector<pid_t> running(const std::string& program) {
    std::vector<pid_t> found;
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
         entry.increment(error)) {
      const auto line = read_file(entry->path() / "cmdline", 4096);
      const auto environment = read_file(entry->path() / "environ", 64 << 10);
      if (line && environment && std::filesystem::path(line->c_str()).filename() == program &&
          environment->find(std::string(kMark) + "=" + mark_) != std::string::npos)
        found.push_back(std::atoi(entry->path().filename().c_str()));
    }
    return found;
  }
  void kill(const std::string& program) {
    for (const pid_t pid : running(program)) ::kill(pid, SIGKILL);
  }
  bool nobody_serves() {
    return await([&] { return !connect_unix(pager_socket(directory_.path()), SOCK_SEQPACKET); });
  }
  std::string freezer() { return must(read_file(cgroup_ / "cgroup.freeze")); }

  static constexpr const char* kMark = "GODWIT_TEST_MARK";
  const std::string mark_ = random_id();
  TestCertificates certificates_;
  const TlsFiles tls_ = certificates_.files("node2");
  ScopedDirectory directory_;
  const std::filesystem::path cgroup_ = directory_ / "cgroup";
  TestProcess process_{[] { ::pause(); }};
};

TEST_F(TargetPagerTest, EndsWithItsAgentUntilTheContainerRuns) {
  be_agent([&] { (void)must(create()).release(); });
  EXPECT_TRUE(nobody_serves());
  EXPECT_TRUE(await([&] { return running("memory_keeper").empty(); }));
}

TEST_F(TargetPagerTest, EndsWhenNoAgentHasComeAndNoneCan) {
  {
    const ScopedFd listener = must(listen_unix(pager_socket(directory_.path()), SOCK_SEQPACKET));
    auto process = must(Subprocess::start(
        {.argv = {settings().program.string(), arrival().id}, .stdin_fd = listener.get(), .stderr_fd = STDERR_FILENO}));
    ASSERT_EQ(must(process.wait_until(Clock::now() + 10s)), 0);
  }
  ASSERT_TRUE(await([&] { return running("godwit-pager").size() == 1; }));
  ::unlink(pager_socket(directory_.path()).c_str());
  EXPECT_TRUE(await([&] { return running("godwit-pager").empty(); }));
}

TEST_F(TargetPagerTest, EndsWhenItIsNotWantedAnyMore) {
  auto pager = must(create());
  pager.reset();
  EXPECT_FALSE(connect_unix(pager_socket(directory_.path()), SOCK_SEQPACKET));
}

TEST_F(TargetPagerTest, LivesOnWithoutAnAgentWhenTheContainerRuns) {
  be_agent([&] {
    auto pager = must(create());
    must(pager->guard(container()));
    (void)pager.release();
  });
  const auto pids = running("godwit-pager");
  ASSERT_EQ(pids.size(), 1u);
  ::kill(pids[0], SIGTERM);
  for (int agent = 0; agent < 3; ++agent) {
    auto pager = must(find());
    EXPECT_EQ(pager->request_channel(), 2u);
    EXPECT_EQ(running("godwit-pager"), pids);
    pager->leave();
  }
  EXPECT_EQ(freezer(), "0");
  must(find()).reset();
  EXPECT_TRUE(nobody_serves());
}

TEST_F(TargetPagerTest, EndsWithTheContainerIfThereIsNoAgent) {
  be_agent([&] {
    auto pager = must(create());
    must(pager->guard(container()));
    (void)pager.release();
  });
  must(write_file(cgroup_ / "cgroup.procs", ""));
  ::kill(process_.pid(), SIGKILL);
  process_.wait();
  EXPECT_TRUE(nobody_serves());
}

TEST_F(TargetPagerTest, AFailureBeforeTheContainerRunsIsTold) {
  std::atomic<bool> told = false;
  auto pager = must(create([&] { told = true; }));
  kill("godwit-pager");
  EXPECT_TRUE(await([&] { return told.load(); }));
  EXPECT_EQ(pager->failure()->text(), "godwit-pager has ended");
  EXPECT_FALSE(pager->await_map(1s));
  EXPECT_FALSE(pager->guard(container()));
}

TEST_F(TargetPagerTest, AnotherOneTakesItsPlaceAndTheContainerGoesOn) {
  auto pager = must(create());
  must(pager->guard(container()));
  const auto first = running("godwit-pager");
  kill("godwit-pager");
  EXPECT_TRUE(await([&] { return pager->progress(10ms).done(); }));  // nothing was missing
  EXPECT_NE(running("godwit-pager"), first);
  EXPECT_FALSE(pager->lost());
  EXPECT_TRUE(await([&] { return freezer() == "0"; }));
}

TEST_F(TargetPagerTest, WithoutAKeeperTheContainerIsFrozenAndLost) {
  auto pager = must(create());
  must(pager->guard(container()));
  kill("memory_keeper");
  EXPECT_EQ(freezer(), "0");
  kill("godwit-pager");
  EXPECT_TRUE(await([&] { return pager->lost().has_value(); }));
  EXPECT_EQ(freezer(), "1");
  EXPECT_TRUE(pager->progress(0ms).paused());
  peer::OutcomeReply reply;
  pager->describe(reply);
  EXPECT_FALSE(reply.has_pages());
}

TEST_F(TargetPagerTest, NobodyIsFoundWhereNobodyIs) {
  auto found = find();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ENOENT);
}

TEST_F(TargetPagerTest, AProgramThatIsMissingIsAnError) {
  PagerSettings missing = settings();
  missing.program = "/no/godwit-pager";
  EXPECT_FALSE(TargetPager::create(missing, arrival(), {}));
}

TEST_F(TargetPagerTest, WhatItDoesNotUnderstandItClosesOrRefuses) {
  auto pager = must(create());
  for (const std::string& odd : {std::string("x"), std::string(200'000, 'x'), std::string("\x7a\x00", 2)}) {
    const ScopedFd stranger = must(connect_unix(pager_socket(directory_.path()), SOCK_SEQPACKET));
    (void)send_packet(stranger.get(), odd);
    auto answer = receive_packet(stranger.get());
    pager::Reply reply;
    EXPECT_TRUE(!answer || (reply.ParseFromString(answer->bytes) && reply.has_failed()));
  }
  EXPECT_FALSE(pager->progress(0ms).paused());
  EXPECT_FALSE(pager->failure());
}

// The preamble is read here, TLS is the pager's.
class TargetPagerConnections : public TargetPagerTest {
 protected:
  TargetPagerConnections() {
    auto route = [this](const wire::Preamble& preamble, ScopedFd& socket) {
      return pager_->take_connection(preamble.channel, socket).has_value();
    };
    auto claim = [](const wire::Hello&, const auto&) -> std::expected<DataHandler, wire::Refusal> {
      return std::unexpected(wire::Refusal::kUnknownMigration);
    };
    listener_ = must(DataListener::start(must(TlsContext::load(tls_)), {.address = "127.0.0.1:0"}, claim, route));
  }
  Result<std::unique_ptr<DataConnection>> connect(uint16_t channel, const std::string& token = test_hello().token,
                                                  const std::string& name = "node1") {
    wire::Hello hello = test_hello();
    hello.channel = channel;
    hello.token = token;
    return DataConnection::connect(certificates_.context(name), listener_->address(), "node2", hello, in_ms(10'000));
  }

  std::unique_ptr<TargetPager> pager_ = must(create());
  std::unique_ptr<DataListener> listener_;
};

TEST_F(TargetPagerConnections, MemoryComesOverThem) {
  auto first = must(connect(1));
  auto requests = must(connect(2));
  send(*first, plain_frame(wire::FrameType::kFrozen));
  send(*first, plain_frame(wire::FrameType::kMapsEnd));
  EXPECT_TRUE(pager_->await_map(10s));
}

TEST_F(TargetPagerConnections, TheSourceAloneMayOpenThem) {
  EXPECT_FALSE(connect(3));
  EXPECT_FALSE(connect(1, std::string(wire::kTokenBytes, 'x')));
  EXPECT_FALSE(connect(1, test_hello().token, "node3"));
  EXPECT_TRUE(connect(1));
}

TEST_F(TargetPagerConnections, ALinkThatIsLostBeforeTheContainerRunsIsAFailure) {
  must(connect(1)).reset();
  EXPECT_TRUE(await([&] { return pager_->failure().has_value(); }));
}

}  // namespace
}  // namespace godwit
