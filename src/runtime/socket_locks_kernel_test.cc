#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "base/scoped_fd.h"
#include "base/test_support.h"
#include "runtime/socket_locks.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

TEST(SocketLocks, AreFoundByTheirDevice) {
  const std::string text =
      "1: POSIX  ADVISORY  WRITE 708 fd:01:12345 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 709 00:1a:8 0 EOF\n"
      "2: -> FLOCK  ADVISORY  WRITE 710 00:1a:9 0 EOF\n"
      "3: FLOCK  ADVISORY  READ  711 00:1a:";
  const auto locked = [](const std::string& locks, dev_t device) {
    std::istringstream lines(locks);
    return locked_inodes(lines, device);
  };
  EXPECT_EQ(locked(text, makedev(0xfd, 1)), std::set<uint64_t>{12345});
  EXPECT_EQ(locked(text, makedev(0, 0x1a)), (std::set<uint64_t>{8, 9}));
  EXPECT_TRUE(locked(text, makedev(0, 8)).empty());
  EXPECT_TRUE(locked("", makedev(0, 8)).empty());
}

TEST(SocketLocks, CountForWhoeverHasTheSocket) {
  const TestProcess stranger([] { ::pause(); });
  const ScopedFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::flock(socket.get(), LOCK_EX), 0);
  EXPECT_TRUE(must(have_locked_sockets({stranger.pid(), ::getpid()})));
  EXPECT_FALSE(must(have_locked_sockets({stranger.pid()})));
  const TestProcess heir([] { ::pause(); });
  EXPECT_TRUE(must(have_locked_sockets({heir.pid()})));
  ASSERT_EQ(::flock(socket.get(), LOCK_UN), 0);
  EXPECT_FALSE(must(have_locked_sockets({heir.pid()})));
}

}  // namespace
}  // namespace godwit
