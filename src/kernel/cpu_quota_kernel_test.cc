#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "kernel/cgroup_tree.h"
#include "kernel/cpu_quota.h"

namespace godwit {
namespace {

// A cgroup of our own below the one this process is in, in the hierarchy that limits CPU time, with a child in it.
class CpuQuotaTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directories = cgroup_directories(::getpid());
    ASSERT_TRUE(directories);
    for (const auto& directory : *directories)
      if (std::filesystem::exists(directory / "cpu.cfs_quota_us"))
        cgroup_ = directory / ("godwit-quota-test-" + std::to_string(::getpid()));
    if (cgroup_.empty()) GTEST_SKIP() << "no v1 cpu hierarchy here";
    std::filesystem::create_directory(cgroup_);
    child_ = ::fork();
    if (child_ == 0)
      for (;;) ::pause();
    ASSERT_TRUE(write_attribute(cgroup_ / "cgroup.procs", std::to_string(child_)));
  }
  void TearDown() override {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    ::rmdir(cgroup_.c_str());
  }
  std::string quota() const { return *read_file(cgroup_ / "cpu.cfs_quota_us", 100); }
  std::string period() const { return *read_file(cgroup_ / "cpu.cfs_period_us", 100); }

  std::filesystem::path cgroup_;
  pid_t child_ = 0;
};

TEST_F(CpuQuotaTest, IsLimitedAndRestored) {
  const std::string period_before = period();
  auto opened = CpuQuota::open(child_);
  ASSERT_TRUE(opened) << opened.error().text();
  EXPECT_TRUE(opened->used_us());
  ASSERT_TRUE(opened->limit(0.5));
  EXPECT_EQ(quota(), "5000\n");
  EXPECT_EQ(period(), "10000\n");
  ASSERT_TRUE(opened->restore());
  EXPECT_EQ(quota(), "-1\n");
  EXPECT_EQ(period(), period_before);
}

TEST_F(CpuQuotaTest, NeverAllowsMoreThanBefore) {
  ASSERT_TRUE(write_attribute(cgroup_ / "cpu.cfs_quota_us", "20000"));  // of 100 ms
  auto opened = CpuQuota::open(child_);
  ASSERT_TRUE(opened);
  ASSERT_TRUE(opened->limit(4));
  EXPECT_EQ(quota(), "2000\n");
  ASSERT_TRUE(opened->restore());
  EXPECT_EQ(quota(), "20000\n");
}

}  // namespace
}  // namespace godwit
