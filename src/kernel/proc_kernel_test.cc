#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/page.h"
#include "base/subprocess.h"
#include "base/test_support.h"
#include "kernel/proc.h"

namespace godwit::proc {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr pid_t kNobody = 0x3ffffff;  // above any pid_max

TEST(Proc, OpenFilesAreSeenWithTheirPlace) {
  const ScopedDirectory directory;
  must(write_file(directory / "file", "0123456789"));
  const ScopedFd fd = must(open_file(directory / "file", O_RDONLY | O_NONBLOCK));
  ASSERT_EQ(::lseek(fd.get(), 4, SEEK_SET), 4);
  const auto files = must(open_files(::getpid()));
  const auto found = std::ranges::find(files, fd.get(), &OpenFile::fd);
  ASSERT_NE(found, files.end());
  EXPECT_EQ(found->link, (directory / "file").string());
  const FdInfo info = must(fd_info(::getpid(), fd.get()));
  EXPECT_EQ(info.position, 4u);
  EXPECT_TRUE(info.flags & O_NONBLOCK);
  EXPECT_GT(info.mount_id, 0);
  EXPECT_GT(info.inode, 0u);
}

TEST(Proc, AProcessThatHasEndedIsAnError) {
  EXPECT_FALSE(open_files(kNobody));
  EXPECT_FALSE(fd_info(kNobody, 0));
  EXPECT_FALSE(status(kNobody));
  EXPECT_FALSE(mapped_files(kNobody));
}

// A process chooses its name, and may choose one that looks like another line.
TEST(Proc, ANameCannotForgeOtherFields) {
  char before[16];
  ::prctl(PR_GET_NAME, before);
  ::prctl(PR_SET_NAME, "x\nTracerPid:\t9");
  const Status found = must(status(static_cast<pid_t>(::gettid())));
  ::prctl(PR_SET_NAME, before);
  EXPECT_EQ(found.tracer, 0);
  EXPECT_THAT(found.name, HasSubstr("TracerPid"));
}

TEST(Proc, ATracerIsSeen) {
  Subprocess child = must(Subprocess::start({.argv = {"sleep", "1000"}}));
  EXPECT_EQ(must(status(child.pid())).tracer, 0);
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr), 0);
  EXPECT_EQ(must(status(child.pid())).tracer, ::getpid());
}

TEST(Proc, MemoryOfItsOwnIsCountedAndFilesAreNot) {
  const uint64_t before = must(status(::getpid())).unshared_bytes;
  constexpr size_t kBytes = 32 << 20;
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const uint64_t with = must(status(::getpid())).unshared_bytes;
  ::munmap(memory, kBytes);
  EXPECT_GE(with, before + kBytes * 9 / 10);
}

TEST(Proc, MappedFilesAreTheProgramsAndItsLibraries) {
  const ScopedDirectory directory;
  must(write_file(directory / "a b", std::string(4096, 'x')));
  const ScopedFd fd = must(open_file(directory / "a b", O_RDWR));
  void* there = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  std::vector<std::string> files = must(mapped_files(::getpid()));
  EXPECT_THAT(files, Contains(std::filesystem::read_symlink("/proc/self/exe").string()));
  EXPECT_THAT(files, Contains(HasSubstr("libc.so")));
  EXPECT_THAT(files, Contains((directory / "a b").string()));
  ASSERT_EQ(::unlink((directory / "a b").c_str()), 0);
  EXPECT_THAT(must(mapped_files(::getpid())), Not(Contains(HasSubstr("a b"))));
  ::munmap(there, 4096);
}

TEST(Proc, FactsOfTheHostAreThere) {
  EXPECT_GT(meminfo_bytes("MemTotal"), meminfo_bytes("MemAvailable"));
  EXPECT_EQ(meminfo_bytes("NoSuchLine"), 0u);
  EXPECT_GT(tcp_queue_bytes_max(), kPageBytes);
  EXPECT_LT(tcp_queue_bytes_max(), meminfo_bytes("MemTotal"));
  const auto flags = cpu_flags();
  EXPECT_THAT(flags, Contains("fpu"));
  EXPECT_TRUE(std::ranges::is_sorted(flags));
}

TEST(Proc, ACgroupThatIsGoneIsAnError) { EXPECT_FALSE(processes_in_cgroup("/sys/fs/cgroup/no-such-group")); }

}  // namespace
}  // namespace godwit::proc
