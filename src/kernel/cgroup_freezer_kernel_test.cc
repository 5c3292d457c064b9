#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/subprocess.h"
#include "base/test_support.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/proc.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;

// A cgroup that can be frozen: v1's freezer hierarchy where it is mounted, else the unified one.
class CgroupFreezerTest : public testing::Test {
 protected:
  CgroupFreezerTest() {
    const fs::path top = fs::exists("/sys/fs/cgroup/freezer") ? "/sys/fs/cgroup/freezer" : "/sys/fs/cgroup";
    group_ = top / ("godwit-test-" + std::to_string(::getpid()));
    fs::create_directory(group_);
  }
  ~CgroupFreezerTest() override {
    for (pid_t pid : proc::processes_in_cgroup(group_).value_or(std::vector<pid_t>{})) ::kill(pid, SIGKILL);
    if (auto freezer = CgroupFreezer::open(group_)) (void)freezer->thaw();
    child_.reset();
    const Deadline deadline = in_ms(5000);  // a cgroup is empty a moment after its last process has been reaped
    while (::rmdir((group_ / "nested").c_str()) != 0 && errno == EBUSY && Clock::now() < deadline) ::usleep(1000);
    while (::rmdir(group_.c_str()) != 0 && errno == EBUSY && Clock::now() < deadline) ::usleep(1000);
  }

  // Counts as fast as it can, in the group; the pipe's reading end tells that it runs.
  void start_counting(const fs::path& group) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    beats_.reset(ends[0]);
    const ScopedFd write_end(ends[1]);
    child_.emplace(must(
        Subprocess::start({.argv = {"/bin/sh", "-c", "while echo beat; do :; done"}, .stdout_fd = write_end.get()})));
    must(write_attribute(group / "cgroup.procs", std::to_string(child_->pid())));
  }

  // Whether the child writes, once what is in the pipe has been taken out.
  bool beats(int within_ms) {
    char buffer[65536];
    ::fcntl(beats_.get(), F_SETFL, O_NONBLOCK);
    while (::read(beats_.get(), buffer, sizeof buffer) > 0) {
    }
    pollfd item{beats_.get(), POLLIN, 0};
    return ::poll(&item, 1, within_ms) == 1;
  }

  fs::path group_;
  ScopedFd beats_;
  std::optional<Subprocess> child_;
};

TEST_F(CgroupFreezerTest, FrozenTasksStandStillAndThawedOnesGoOn) {
  start_counting(group_);
  const CgroupFreezer freezer = must(CgroupFreezer::open(group_));
  EXPECT_FALSE(must(freezer.is_frozen()));
  EXPECT_TRUE(beats(5000));
  must(freezer.freeze(in_ms(5000)));
  EXPECT_TRUE(must(freezer.is_frozen()));
  (void)beats(0);  // takes out what was written before
  EXPECT_FALSE(beats(50));
  must(freezer.thaw());
  EXPECT_FALSE(must(freezer.is_frozen()));
  EXPECT_TRUE(beats(5000));
  must(freezer.thaw());  // runs already
}

TEST_F(CgroupFreezerTest, TasksOfNestedGroupsAreFrozenAndFoundToo) {
  fs::create_directory(group_ / "nested");
  start_counting(group_ / "nested");
  EXPECT_THAT(must(proc::processes_in_cgroup(group_)), testing::Contains(child_->pid()));
  const CgroupFreezer freezer = must(CgroupFreezer::open(group_));
  must(freezer.freeze(in_ms(5000)));
  (void)beats(0);
  EXPECT_FALSE(beats(50));
}

TEST_F(CgroupFreezerTest, AnEmptyGroupIsFrozenAtOnce) {
  const CgroupFreezer freezer = must(CgroupFreezer::open(group_));
  must(freezer.freeze(in_ms(5000)));
  EXPECT_TRUE(must(freezer.is_frozen()));
}

TEST_F(CgroupFreezerTest, AGroupThatIsGoneNeedsNoThawing) {
  const CgroupFreezer freezer = must(CgroupFreezer::open(group_));
  ASSERT_EQ(::rmdir(group_.c_str()), 0);
  EXPECT_TRUE(freezer.thaw());
  EXPECT_FALSE(freezer.freeze(in_ms(1000)));
  fs::create_directory(group_);
}

TEST_F(CgroupFreezerTest, ADirectoryThatIsNoCgroupIsRefused) {
  const ScopedDirectory directory;
  EXPECT_FALSE(CgroupFreezer::open(directory.path()));
}

}  // namespace
}  // namespace godwit
