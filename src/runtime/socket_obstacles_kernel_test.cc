#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/scoped_fd.h"
#include "base/test_support.h"
#include "runtime/socket_obstacles.h"

namespace godwit {
namespace {

using testing::HasSubstr;

sockaddr_in any_port() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

ScopedFd listener(sockaddr_in& address) {
  ScopedFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  address = any_port();
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::listen(socket.get(), 4), 0);
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  return socket;
}

ScopedFd connected(const sockaddr_in& address) {
  ScopedFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return socket;
}

void await(int socket, short events) {
  pollfd waited{.fd = socket, .events = events, .revents = 0};
  ASSERT_EQ(::poll(&waited, 1, 5000), 1);
}

TEST(SocketObstacles, AFilterIsOneIfItIsABpfProgram) {
  const ScopedFd socket(::socket(AF_INET, SOCK_DGRAM, 0));
  sock_filter whole{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0xffff};
  const sock_fprog classic{.len = 1, .filter = &whole};
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &classic, sizeof classic), 0);
  EXPECT_EQ(obstacle_in_socket(socket.get()), "");

  const bpf_insn whole_too[] = {
      {.code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0xffff},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uintptr_t>(whole_too);
  attributes.insn_cnt = 2;
  attributes.license = reinterpret_cast<uintptr_t>("MIT");
  const ScopedFd program(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  if (!program) GTEST_SKIP() << "this kernel takes no BPF program";
  const int number = program.get();
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_BPF, &number, sizeof number), 0);
  EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr("SO_ATTACH_BPF"));
}

TEST(SocketObstacles, OrdinarySocketsAreNone) {
  for (auto [family, type] : {std::pair{AF_INET, SOCK_STREAM},
                              {AF_INET6, SOCK_STREAM},
                              {AF_INET, SOCK_DGRAM},
                              {AF_UNIX, SOCK_STREAM},
                              {AF_UNIX, SOCK_SEQPACKET},
                              {AF_NETLINK, SOCK_RAW}}) {
    const ScopedFd socket(::socket(family, type, 0));
    EXPECT_EQ(obstacle_in_socket(socket.get()), "") << family;
  }
  sockaddr_in address;
  const ScopedFd listening = listener(address);
  EXPECT_EQ(obstacle_in_socket(listening.get()), "");
}

TEST(SocketObstacles, OtherProtocolsAreNamed) {
  const std::tuple<int, int, int, const char*> kinds[] = {{AF_INET, SOCK_STREAM, 262, "Multipath TCP"},
                                                          {AF_INET, SOCK_STREAM, IPPROTO_SCTP, "SCTP"},
                                                          {AF_ALG, SOCK_SEQPACKET, 0, "cryptography"},
                                                          {AF_VSOCK, SOCK_STREAM, 0, "vsock"}};
  int seen = 0;
  for (const auto& [family, type, protocol, what] : kinds) {
    const ScopedFd socket(::socket(family, type, protocol));
    if (!socket) continue;  // not in this kernel
    EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr(what));
    ++seen;
  }
  if (seen == 0) GTEST_SKIP() << "this kernel has none of these protocols";
}

TEST(SocketObstacles, AConnectionThatNobodyAcceptsIsSeen) {
  sockaddr_in address;
  const ScopedFd listening = listener(address);
  const ScopedFd client = connected(address);
  EXPECT_THAT(obstacle_in_socket(listening.get()),
              HasSubstr(std::to_string(ntohs(address.sin_port)) + " with connections"));
}

TEST(SocketObstacles, AConnectionThatIsAcceptedSoonIsNone) {
  sockaddr_in address;
  const ScopedFd listening = listener(address);
  const ScopedFd client = connected(address);
  std::thread program([&] { ScopedFd(::accept(listening.get(), nullptr, nullptr)); });
  EXPECT_EQ(obstacle_in_socket(listening.get()), "");
  program.join();
}

TEST(SocketObstacles, ConnectionsThatABusyProgramAcceptsOneByOneAreNone) {
  sockaddr_in address;
  const ScopedFd listening = listener(address);
  const std::vector<ScopedFd> before = [&] {
    std::vector<ScopedFd> sockets(2);
    for (ScopedFd& socket : sockets) socket = connected(address);
    return sockets;
  }();
  std::atomic<bool> looked = false;
  std::thread program([&] {  // as one goes the next one comes: there is always one waiting
    for (std::vector<ScopedFd> clients; !looked; clients.push_back(connected(address))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ::close(::accept(listening.get(), nullptr, nullptr));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  EXPECT_EQ(obstacle_in_socket(listening.get()), "");
  looked = true;
  program.join();
}

TEST(SocketObstacles, UnreadUrgentDataIsSeenIfThePeerHasClosed) {
  sockaddr_in address;
  const ScopedFd listening = listener(address);
  const ScopedFd client = connected(address);
  const ScopedFd server(::accept(listening.get(), nullptr, nullptr));
  ASSERT_EQ(::send(client.get(), "!", 1, MSG_OOB), 1);
  await(server.get(), POLLPRI);
  EXPECT_EQ(obstacle_in_socket(server.get()), "");
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  await(server.get(), POLLRDHUP);
  EXPECT_THAT(obstacle_in_socket(server.get()), HasSubstr("urgent data"));
}

TEST(SocketObstacles, ACorkedUdpSocketIsSeen) {
  const ScopedFd socket(::socket(AF_INET, SOCK_DGRAM, 0));
  const int on = 1;
  ASSERT_EQ(::setsockopt(socket.get(), IPPROTO_UDP, UDP_CORK, &on, sizeof on), 0);
  EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr("corked"));
}

TEST(SocketObstacles, ASocketThatSendsWithoutCopyingIsSeen) {
  const ScopedFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  const int on = 1;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on), 0);
  EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr("SO_ZEROCOPY"));
}

TEST(SocketObstacles, AHighNetlinkGroupIsSeenAndALowOneIsNot) {
  const ScopedFd socket(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  for (const auto& [group, expected] :
       {std::pair<int, const char*>{RTNLGRP_LINK, ""}, {RTNLGRP_NEXTHOP, ""}, {34, "above 32"}}) {
    ASSERT_EQ(::setsockopt(socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group), 0);
    EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr(expected)) << group;
  }
}

TEST(SocketObstacles, AUnixConnectionThatNobodyAcceptsIsSeen) {
  const ScopedFd listening(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);  // any name
  ASSERT_EQ(::listen(listening.get(), 4), 0);
  ASSERT_EQ(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const ScopedFd client(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_THAT(obstacle_in_socket(listening.get()), HasSubstr("UNIX socket with connections"));
}

TEST(SocketObstacles, UnreadMessagesOfNetlinkAreSeen) {
  const ScopedFd socket(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  struct {
    nlmsghdr header{.nlmsg_len = sizeof(nlmsghdr) + sizeof(rtgenmsg),
                    .nlmsg_type = RTM_GETLINK,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                    .nlmsg_seq = 1,
                    .nlmsg_pid = 0};
    rtgenmsg body{};
  } request;
  ASSERT_GT(::send(socket.get(), &request, request.header.nlmsg_len, 0), 0);
  EXPECT_THAT(obstacle_in_socket(socket.get()), HasSubstr("netlink"));
}

}  // namespace
}  // namespace godwit
