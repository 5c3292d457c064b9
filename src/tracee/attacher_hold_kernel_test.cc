// What an agent holds goes on wherever it is killed, or stopped, or its attacher is; and not before it lets go.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/test_support.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/cgroup_tree.h"
#include "tracee/attacher.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

enum Word { kCount, kHelper, kHeld };

fs::path program() { return fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "libexec" / "attacher"; }

bool has_ended(pid_t pid) {
  auto status = proc::status(pid);
  return !status || status->state == 'Z' || status->state == 'X';
}

// Counts in a cgroup of its own.
class HeldTest : public testing::Test {
 protected:
  HeldTest() {
    const fs::path top = fs::exists("/sys/fs/cgroup/freezer") ? "/sys/fs/cgroup/freezer" : "/sys/fs/cgroup";
    group_ = top / ("godwit-held-test-" + std::to_string(::getpid()));
    fs::create_directory(group_);
    counter_ = std::make_unique<TestProcess>([this] {
      if (!write_attribute(group_ / "cgroup.procs", std::to_string(::getpid()))) ::_exit(99);
      for (;; ::usleep(100)) ++board_[kCount];
    });
    freezer_.emplace(must(CgroupFreezer::open(group_)));
  }
  ~HeldTest() override {
    (void)freezer_->thaw();
    counter_.reset();
    (void)remove_cgroup(group_, in_ms(5000));
  }
  void expect_counting() {
    const uint64_t before = board_[kCount];
    EXPECT_TRUE(await([&] { return board_[kCount] > before + 10; }));
  }
  void expect_still() {
    EXPECT_TRUE(must(freezer_->is_frozen()));
    const uint64_t before = board_[kCount];
    ::usleep(50'000);
    EXPECT_EQ(board_[kCount], before);
  }
  // A process that holds, in the middle of ACT.
  std::unique_ptr<TestProcess> start_agent(const std::function<void(Attacher&)>& act) {
    auto agent = std::make_unique<TestProcess>([&] {
      auto attacher = must(Attacher::start({.program = program(), .cgroup = group_}));
      board_[kHelper] = static_cast<uint64_t>(attacher->pid());
      act(*attacher);
    });
    EXPECT_TRUE(await([&] { return board_[kHelper] != 0; }));
    return agent;
  }
  void hold_and_wait(Attacher& attacher) {
    must(attacher.hold());
    board_[kHeld] = 1;
    ::pause();
  }

  Board board_;
  fs::path group_;
  std::unique_ptr<TestProcess> counter_;
  std::optional<CgroupFreezer> freezer_;
};

TEST_F(HeldTest, AllStandStillUntilTheyAreLetGo) {
  auto attacher = must(Attacher::start({.program = program(), .cgroup = group_}));
  std::vector<double> took;
  for (int i = 0; i < 50; ++i) {
    expect_counting();
    const Stopwatch watch;
    must(attacher->hold());
    if (i == 0) expect_still();
    must(attacher->let_go());
    if (i > 0) took.push_back(watch.ms());
  }
  expect_counting();
  std::ranges::sort(took);
  std::printf("hold and let go: median %.3f ms, most %.3f\n", took[took.size() / 2], took.back());
}

TEST_F(HeldTest, TheyGoOnWhenTheAgentIsKilled) {
  auto agent = start_agent([&](Attacher& attacher) { hold_and_wait(attacher); });
  ASSERT_TRUE(await([&] { return board_[kHeld] == 1; }));
  expect_still();
  ::kill(agent->pid(), SIGKILL);
  expect_counting();
}

TEST_F(HeldTest, TheyGoOnWhereverTheAgentIsKilled) {
  int held = 0;
  for (int us = 0; us < 3000; us += 37) {
    board_[kHelper] = 0;
    auto agent = start_agent([&](Attacher& attacher) {
      for (;;) {
        must(attacher.hold());
        must(attacher.let_go());
      }
    });
    ::usleep(static_cast<useconds_t>(us));
    ::kill(agent->pid(), SIGKILL);
    held += must(freezer_->is_frozen()) ? 1 : 0;
    (void)agent->wait();
    const auto helper = static_cast<pid_t>(board_[kHelper].load());
    EXPECT_TRUE(await([&] { return has_ended(helper); }));
    EXPECT_FALSE(must(freezer_->is_frozen()));
    expect_counting();
  }
  EXPECT_GT(held, 0);
  std::printf("killed while they stood still: %d times\n", held);
}

TEST_F(HeldTest, NobodyLetsThemGoAfterTheEnd) {
  auto attacher = must(Attacher::start({.program = program(), .cgroup = group_}));
  must(attacher->hold());
  must(attacher->let_go());
  attacher->end();
  must(freezer_->freeze(in_ms(5000)));
  EXPECT_FALSE(attacher->hold());
  EXPECT_FALSE(attacher->open_userfaultfd_of(counter_->pid(), in_ms(1000)));
  attacher.reset();
  expect_still();
}

TEST_F(HeldTest, AnAttacherThatIsKilledOrStoppedIsAnErrorAndTheyGoOn) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    auto attacher = must(Attacher::start({.program = program(), .cgroup = group_}));
    must(attacher->hold());
    expect_still();
    ::kill(attacher->pid(), signal);
    EXPECT_FALSE(attacher->is_lost());
    EXPECT_FALSE(attacher->let_go());
    EXPECT_TRUE(attacher->is_lost());
    expect_counting();
    EXPECT_FALSE(attacher->hold());
    expect_counting();
  }
}

TEST_F(HeldTest, AnAgentThatIsStoppedDoesNotHoldForEver) {
  auto attacher = must(Attacher::start({.program = program(), .cgroup = group_, .held_at_most = 300ms}));
  const Stopwatch watch;
  must(attacher->hold());
  expect_still();
  expect_counting();
  EXPECT_GE(watch.ms(), 300);
  EXPECT_FALSE(attacher->let_go()) << "what was done meanwhile was not done to what stands still";
}

TEST_F(HeldTest, ACgroupThatIsNotThereIsAnError) {
  auto attacher = must(Attacher::start({.program = program(), .cgroup = group_ / "none"}));
  EXPECT_FALSE(attacher->hold());
  EXPECT_TRUE(attacher->open_userfaultfd_of(counter_->pid(), in_ms(5000)));
}

}  // namespace
}  // namespace godwit
