#include "runtime/obstacles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "base/scoped_fd.h"

namespace godwit {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> obstacles_of(pid_t pid) {
  std::vector<std::string> texts;
  for (const peer::Problem& problem : find_obstacles({pid}, {})) texts.push_back(problem.text());
  return texts;
}

// A child that has done PREPARE and waits.
class Child {
 public:
  explicit Child(const std::function<bool()>& prepare) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close_range(3, static_cast<unsigned>(ends[1]) - 1, 0);
      ::close_range(static_cast<unsigned>(ends[1]) + 1, ~0u, 0);
      const char ready = prepare() ? 'y' : 'n';
      (void)!::write(ends[1], &ready, 1);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char answer = '?';
    (void)!::read(ends[0], &answer, 1);
    ::close(ends[0]);
    ready_ = answer == 'y';
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  bool ready() const { return ready_; }

 private:
  pid_t pid_;
  bool ready_;
};

TEST(Obstacles, OrdinaryFilesAreNone) {
  const Child child(
      [] { return ::eventfd(0, 0) >= 0 && ::socket(AF_INET, SOCK_STREAM, 0) >= 0 && ::memfd_create("x", 0) >= 0; });
  ASSERT_TRUE(child.ready());
  EXPECT_THAT(obstacles_of(child.pid()), IsEmpty());
}

TEST(Obstacles, AnIoUringIsSeen) {
  const Child child([] {
    io_uring_params params{};
    return ::syscall(SYS_io_uring_setup, 8, &params) >= 0;
  });
  if (!child.ready()) GTEST_SKIP() << "io_uring is not allowed here";
  EXPECT_THAT(obstacles_of(child.pid()),
              ElementsAre(AllOf(HasSubstr("has an io_uring open"), HasSubstr("CRIU cannot carry"))));
}

TEST(Obstacles, AUserfaultfdIsSeen) {
  const Child child([] { return ::syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */) >= 0; });
  ASSERT_TRUE(child.ready());
  EXPECT_THAT(obstacles_of(child.pid()), ElementsAre(HasSubstr("has a userfaultfd open")));
}

TEST(Obstacles, APerfEventIsSeen) {
  const Child child([] {
    perf_event_attr attributes{};
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_PAGE_FAULTS;
    return ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0) >= 0;
  });
  if (!child.ready()) GTEST_SKIP() << "perf_event_open is not allowed here";
  EXPECT_THAT(obstacles_of(child.pid()), ElementsAre(HasSubstr("has a perf event open")));
}

// From kernel 6.5 on secret memory is there unless it was turned off at boot.
TEST(Obstacles, SecretMemoryIsSeen) {
  const Child child([] { return ::syscall(SYS_memfd_secret, 0) >= 0; });
  if (!child.ready()) GTEST_SKIP() << "this kernel offers no memfd_secret";
  EXPECT_THAT(obstacles_of(child.pid()), ElementsAre(HasSubstr("secret memory")));
}

TEST(Obstacles, ATracerIsNamed) {
  const Child child([] { return true; });
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr), 0);
  EXPECT_THAT(obstacles_of(child.pid()), ElementsAre(HasSubstr("is traced by process " + std::to_string(::getpid()))));
}

TEST(Obstacles, AProcessThatHasEndedIsNone) {
  pid_t pid;
  {
    const Child child([] { return true; });
    pid = child.pid();
  }
  EXPECT_THAT(obstacles_of(pid), IsEmpty());
}

// What a container can name as it likes starts with a slash and is not taken for what the kernel names.
TEST(Obstacles, NamesOfOrdinaryFilesMeanNothing) {
  EXPECT_EQ(obstacle_in_link("/tmp/anon_inode:[io_uring]"), "");
  EXPECT_EQ(obstacle_in_link("/memfd:io_uring (deleted)"), "");
  EXPECT_EQ(obstacle_in_link("/dev/null"), "");
  EXPECT_EQ(obstacle_in_link("anon_inode:[eventfd]"), "");
  EXPECT_NE(obstacle_in_link("anon_inode:bpf-prog"), "");
  EXPECT_NE(obstacle_in_link("/dev/nvidia0"), "");
}

TEST(Obstacles, StreamsThatCannotMoveAreNamed) {
  peer::Stream socket, terminal, file;
  socket.set_kind(peer::Stream::UNSUPPORTED);
  socket.set_path("socket:[17]");
  terminal.set_kind(peer::Stream::UNSUPPORTED);
  terminal.set_fd(2);
  terminal.set_path("/dev/pts/3");
  file.set_kind(peer::Stream::FILE);
  const auto problems = find_obstacles({}, {socket, terminal, file});
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_THAT(problems[0].text(), HasSubstr("stderr is a terminal of this host"));
  EXPECT_THAT(problems[1].text(), HasSubstr("stdin is a socket to a process of this host"));
}

}  // namespace
}  // namespace godwit
