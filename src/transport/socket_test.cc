#include "transport/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "transport/test_certificates.h"

namespace godwit {
namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

TEST(HostPort, AddressesAndNamesAreUnderstood) {
  EXPECT_EQ(must(parse_host_port("10.99.1.1:7411")).host, "10.99.1.1");
  EXPECT_EQ(must(parse_host_port("10.99.1.1:7411")).port, "7411");
  EXPECT_EQ(must(parse_host_port("[fd00::1]:0")).host, "fd00::1");
  EXPECT_EQ(must(parse_host_port("node2:65535")).host, "node2");
}

TEST(HostPort, AnythingElseIsRefused) {
  for (const char* bad :
       {"", ":", "node2", "node2:", ":7411", "node2:65536", "node2:-1", "node2:+1", "node2: 1", "node2:http",
        "node2:1x", "fd00::1:7411", "[]:1", "[fd00::1]", "a b:1", "unix:/run/x", "node2:99999999999999999999"})
    EXPECT_FALSE(parse_host_port(bad)) << bad;
}

TEST(TcpSocket, BothEndsNoticeADeadPeer) {
  TestPort port;
  ScopedFd client = must(connect_tcp(port.address(), in_ms(5000)));
  ScopedFd server = port.accept();
  must(prepare_tcp(server.get()));
  for (int fd : {client.get(), server.get()}) {
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), PeerTimeouts{}.dead_after.count());
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  }
  EXPECT_EQ(remote_address(client.get()), port.address());
  EXPECT_EQ(remote_address(server.get()), local_address(client.get()));
}

// In data under way by one option of the kernel's, on an idle link by three others.
TEST(TcpSocket, ADeadPeerIsNoticedAfterTheTimeThatIsAskedFor) {
  TestPort port;
  for (const int seconds : {4, 5, 7, 10, 59, 3600}) {
    ASSERT_GE(std::chrono::seconds(seconds), kDeadAfterMin);
    ScopedFd client = must(connect_tcp(port.address(), in_ms(5000), std::chrono::seconds(seconds)));
    EXPECT_EQ(option(client.get(), IPPROTO_TCP, TCP_USER_TIMEOUT), seconds * 1000);
    EXPECT_EQ(option(client.get(), IPPROTO_TCP, TCP_KEEPIDLE) +
                  option(client.get(), IPPROTO_TCP, TCP_KEEPCNT) * option(client.get(), IPPROTO_TCP, TCP_KEEPINTVL),
              seconds);
  }
}

TEST(TcpSocket, NobodyListeningIsSaidAtOnce) {
  std::string address;
  {
    address = TestPort().address();
  }
  auto fd = connect_tcp(address, in_ms(5000));
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().code(), ECONNREFUSED);
  EXPECT_EQ(fd.error().text(), address + ": connect: Connection refused");
}

TEST(TcpSocket, WaitingEndsAtTheDeadline) {
  TestPort port;
  ScopedFd client = must(connect_tcp(port.address(), in_ms(5000)));
  Stopwatch watch;
  auto waited = wait_ready(client.get(), POLLIN, in_ms(30));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code(), ETIMEDOUT);
  EXPECT_GE(watch.ms(), 29);
}

TEST(TcpSocket, EveryWayOfClosingIsTheSameError) {
  for (int code : {0, ECONNRESET, EPIPE}) {
    EXPECT_EQ(peer_error("node2", code).code(), ECONNRESET);
    EXPECT_EQ(peer_error("node2", code).text(), "node2 closed the connection");
  }
  EXPECT_EQ(peer_error("node2", ETIMEDOUT).text(),
            "node2 has acknowledged nothing for longer than limits.peer_dead_after_s");
}

}  // namespace
}  // namespace godwit
