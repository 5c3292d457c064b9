// Throttling of a real process that uses all it can get.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/cgroup_tree.h"
#include "migration/cpu_throttle.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

std::unique_ptr<Attacher> start_attacher() {
  const auto programs = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path();
  return must(Attacher::start({.program = programs / "libexec" / "attacher"}));
}

// A process in a cgroup of its own in the hierarchy that limits CPU time.
class CpuThrottleTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& directory : must(cgroup_directories(::getpid())))
      for (const char* file : {"cpu.cfs_quota_us", "cpu.max"})
        if (std::filesystem::exists(directory / file) && cgroup_.empty()) {
          quota_file_ = file;
          cgroup_ = directory / ("godwit-throttle-test-" + std::to_string(::getpid()));
        }
    if (cgroup_.empty()) GTEST_SKIP() << "this process is in no cgroup that limits CPU time";
    std::filesystem::create_directory(cgroup_);
    process_ = std::make_unique<TestProcess>([&] {
      if (!write_attribute(cgroup_ / "cgroup.procs", std::to_string(::getpid()))) ::_exit(1);
      board_[0] = 1;
      for (;;) board_[1] = board_[1] + 1;
    });
    ASSERT_TRUE(await([&] { return board_[0] == 1; }));
    before_ = quota();
    attacher_ = start_attacher();
  }
  void TearDown() override {
    process_.reset();
    if (!cgroup_.empty()) (void)remove_cgroup(cgroup_, in_ms(5000));
  }
  std::string quota() const { return trimmed(must(read_file(cgroup_ / quota_file_))); }
  // Until it has used some, so that there is something to take away.
  void await_work() {
    const uint64_t from = board_[1];
    ASSERT_TRUE(await([&] { return board_[1] > from + 1'000'000; }));
  }

  std::filesystem::path cgroup_;
  std::string quota_file_;
  Board board_;
  std::unique_ptr<TestProcess> process_;
  std::string before_;
  std::unique_ptr<Attacher> attacher_;
};

TEST_F(CpuThrottleTest, StepsTakeMoreUntilThereIsNoMoreAndTheEndGivesAllBack) {
  CpuThrottle throttle;
  throttle.watch(process_->pid(), *attacher_);
  await_work();
  for (uint32_t percent : {20, 40, 60, 80, 99}) {
    EXPECT_TRUE(throttle.step());
    EXPECT_EQ(throttle.percent_max(), percent);
    EXPECT_NE(quota(), before_);
  }
  EXPECT_FALSE(throttle.step());
  throttle.end();
  EXPECT_EQ(quota(), before_);
  EXPECT_EQ(throttle.percent_max(), 99u);  // for the report
}

TEST_F(CpuThrottleTest, ItEndsWithTheObject) {
  {
    CpuThrottle throttle;
    throttle.watch(process_->pid(), *attacher_);
    await_work();
    ASSERT_TRUE(throttle.step());
    EXPECT_NE(quota(), before_);
  }
  EXPECT_EQ(quota(), before_);
}

TEST_F(CpuThrottleTest, ItEndsWithAProcessThatIsKilled) {
  TestProcess agent([&] {
    auto attacher = start_attacher();
    CpuThrottle throttle;
    throttle.watch(process_->pid(), *attacher);
    await_work();
    if (throttle.step()) board_[2] = 1;
    ::pause();
  });
  ASSERT_TRUE(await([&] { return board_[2] == 1; }));
  EXPECT_NE(quota(), before_);
  ASSERT_EQ(::kill(agent.pid(), SIGKILL), 0);
  EXPECT_TRUE(await([&] { return quota() == before_; }));
}

TEST_F(CpuThrottleTest, WithoutABackstopNothingIsTaken) {
  CpuThrottle throttle;
  throttle.watch(process_->pid(), *attacher_);
  await_work();
  ASSERT_EQ(::kill(attacher_->pid(), SIGKILL), 0);
  EXPECT_FALSE(throttle.step());
  EXPECT_EQ(quota(), before_);
}

TEST_F(CpuThrottleTest, AContainerThatEndsIsNoLongerThrottled) {
  CpuThrottle throttle;
  throttle.watch(process_->pid(), *attacher_);
  await_work();
  ASSERT_TRUE(throttle.step());
  process_.reset();
  must(remove_cgroup(cgroup_, in_ms(5000)));
  EXPECT_FALSE(throttle.step());
  throttle.end();
}

TEST(CpuThrottle, WithoutAContainerThereIsNothingToTake) {
  CpuThrottle throttle;
  EXPECT_FALSE(throttle.step());
  TestProcess ended([] {});
  const pid_t pid = ended.pid();
  ended.wait();
  throttle.watch(pid, *start_attacher());
  EXPECT_FALSE(throttle.step());
  EXPECT_EQ(throttle.percent_max(), 0u);
}

}  // namespace
}  // namespace godwit
