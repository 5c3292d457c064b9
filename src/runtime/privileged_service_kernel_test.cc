// What is lent to a restore into a user namespace, and that nothing is once the service has ended.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/test_support.h"
#include "base/unix_socket.h"
#include "kernel/netns.h"
#include "runtime/helpers/privileged_request.h"
#include "runtime/privileged_service.h"

namespace godwit {
namespace {

class PrivilegedServiceTest : public testing::Test {
 protected:
  PrivilegedServiceTest()
      : netns_(must(open_current_netns())),
        service_(must(PrivilegedService::start(directory_ / "socket", netns_.get(), {"/dev"}))),
        connection_(must(connect_unix(directory_ / "socket", SOCK_SEQPACKET))) {}

  struct Answered {
    int error = -1;  // -1: none came
    ScopedFd fd;
  };

  Answered ask(std::string_view request, int subject = -1) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    ScopedFd ours(ends[0]), theirs(ends[1]);
    std::vector<int> fds{theirs.get()};
    if (subject >= 0) fds.push_back(subject);
    const auto sent = send_packet(connection_.get(), request, fds);
    theirs.reset();
    auto packet = sent ? receive_packet(ours.get()) : Result<Packet>(std::unexpected(sent.error()));
    Answered answered;
    PrivilegedAnswer answer{};
    if (!packet || packet->bytes.size() != sizeof answer) return answered;
    std::memcpy(&answer, packet->bytes.data(), sizeof answer);
    answered.error = answer.error;
    if (!packet->fds.empty()) answered.fd = std::move(packet->fds[0]);
    return answered;
  }

  Answered ask(uint32_t kind, int32_t value = 0, int subject = -1) {
    const PrivilegedRequest request{kind, value, ""};
    return ask({reinterpret_cast<const char*>(&request), sizeof request}, subject);
  }

  ScopedDirectory directory_;
  ScopedFd netns_;
  std::unique_ptr<PrivilegedService> service_;
  ScopedFd connection_;
};

TEST_F(PrivilegedServiceTest, LendsTheDeviceAndTheNetworkNamespace) {
  struct stat device{}, lent{};
  ASSERT_EQ(::stat("/dev/userfaultfd", &device), 0);
  const Answered made = ask(PrivilegedRequest::kUserfaultfdDevice);
  ASSERT_EQ(made.error, 0);
  ASSERT_EQ(::fstat(made.fd.get(), &lent), 0);
  EXPECT_EQ(lent.st_rdev, device.st_rdev);
  const Answered netns = ask(PrivilegedRequest::kNetworkNamespace);
  ASSERT_EQ(netns.error, 0);
  EXPECT_TRUE(must(same_netns(netns.fd.get(), netns_.get())));
}

TEST_F(PrivilegedServiceTest, PutsATcpSocketIntoRepairModeAndTakesItOut) {
  const ScopedFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  for (int wanted : {1, 0}) {
    EXPECT_EQ(ask(PrivilegedRequest::kTcpRepair, wanted, tcp.get()).error, 0);
    int repair = -1;
    socklen_t length = sizeof repair;
    ASSERT_EQ(::getsockopt(tcp.get(), IPPROTO_TCP, TCP_REPAIR, &repair, &length), 0);
    EXPECT_EQ(repair, wanted);
  }
}

TEST_F(PrivilegedServiceTest, RawSocketsHaveCriusMark) {
  const Answered raw = ask(PrivilegedRequest::kRawSocket, AF_INET);
  ASSERT_EQ(raw.error, 0);
  int mark = 0;
  socklen_t length = sizeof mark;
  ASSERT_EQ(::getsockopt(raw.fd.get(), SOL_SOCKET, SO_MARK, &mark, &length), 0);
  EXPECT_EQ(mark, 0xc114);
}

TEST_F(PrivilegedServiceTest, LendsTheMountsItWasToldOf) {
  const auto lent = [&](const char* path) {
    PrivilegedRequest request{PrivilegedRequest::kMount, 0, ""};
    std::strcpy(request.path, path);
    return ask({reinterpret_cast<const char*>(&request), sizeof request});
  };
  const Answered dev = lent("/dev");
  ASSERT_EQ(dev.error, 0);
  EXPECT_EQ(::faccessat(dev.fd.get(), "null", F_OK, 0), 0);
  EXPECT_FALSE(lent("/proc").fd);
  EXPECT_FALSE(lent("/dev/shm").fd);
}

TEST_F(PrivilegedServiceTest, RefusesWhatIsOddAndGoesOn) {
  EXPECT_EQ(ask("x").error, EINVAL);
  EXPECT_EQ(ask(99).error, EINVAL);
  EXPECT_EQ(ask(PrivilegedRequest::kTcpRepair, 1).error, EINVAL);
  EXPECT_EQ(ask(PrivilegedRequest::kRawSocket, AF_PACKET).error, EINVAL);
  const ScopedFd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(ask(PrivilegedRequest::kTcpRepair, 1, udp.get()).error, 0);
  EXPECT_EQ(ask(PrivilegedRequest::kUserfaultfdDevice).error, 0);
}

// runC asks CRIU for its version first.
TEST_F(PrivilegedServiceTest, ServesTheNextWhenOneHasEnded) {
  connection_ = must(connect_unix(directory_ / "socket", SOCK_SEQPACKET));
  EXPECT_EQ(ask(PrivilegedRequest::kUserfaultfdDevice).error, 0);
}

TEST_F(PrivilegedServiceTest, WhoKeepsTheConnectionGetsNothingAfterItsEnd) {
  EXPECT_EQ(ask(PrivilegedRequest::kUserfaultfdDevice).error, 0);
  service_.reset();
  EXPECT_EQ(ask(PrivilegedRequest::kUserfaultfdDevice).error, -1);
  EXPECT_FALSE(connect_unix(directory_ / "socket", SOCK_SEQPACKET));
}

}  // namespace
}  // namespace godwit
