#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/scoped_fd.h"
#include "base/test_support.h"
#include "base/unix_socket.h"
#include "kernel/netns.h"
#include "runtime/multicast_groups.h"
#include "runtime/socket_options.h"
#include "runtime/socket_states.h"
#include "runtime/tcp_keys.h"

namespace godwit {
namespace {

using testing::Contains;
using testing::HasSubstr;

ScopedFd make(int family, int type, int protocol = 0) { return ScopedFd(::socket(family, type, protocol)); }

void set(const ScopedFd& socket, int level, int name, int value) {
  ASSERT_EQ(::setsockopt(socket.get(), level, name, &value, sizeof value), 0) << level << " " << name;
}

int get(const ScopedFd& socket, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(::getsockopt(socket.get(), level, name, &value, &length), 0) << level << " " << name;
  return value;
}

struct Connection {
  ScopedFd client, server;
};

Connection connection(int family) {
  sockaddr_storage address{};
  address.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (family == AF_INET6) reinterpret_cast<sockaddr_in6&>(address).sin6_addr = in6addr_loopback;
  socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  const ScopedFd listener = make(family, SOCK_STREAM);
  auto* where = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.get(), where, length), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), where, &length), 0);
  Connection made{.client = make(family, SOCK_STREAM), .server = {}};
  EXPECT_EQ(::connect(made.client.get(), where, length), 0);
  made.server = ScopedFd(::accept(listener.get(), nullptr, nullptr));
  return made;
}

class SocketStatesTest : public testing::Test {
 protected:
  std::vector<peer::SocketOption> options_of(const ScopedFd& socket) {
    return reader_.read(socket.get(), kind_of(socket.get()).value());
  }
  std::string names_of(const ScopedFd& socket) {
    std::string names;
    for (const auto& option : options_of(socket))
      names += std::to_string(option.level()) + ":" + std::to_string(option.name()) + " ";
    return names;
  }
  const ScopedFd netns_ = must(open_current_netns());
  SocketOptionReader reader_{netns_.get()};
};

TEST_F(SocketStatesTest, OfOrdinarySocketsNothingIsCarried) {
  for (const auto& [family, type] : {std::pair{AF_INET, SOCK_STREAM},
                                     {AF_INET6, SOCK_STREAM},
                                     {AF_INET, SOCK_DGRAM},
                                     {AF_INET6, SOCK_DGRAM},
                                     {AF_UNIX, SOCK_STREAM},
                                     {AF_NETLINK, SOCK_RAW},
                                     {AF_PACKET, SOCK_RAW}})
    EXPECT_EQ(names_of(make(family, type)), "") << family << " " << type;
  for (const int family : {AF_INET, AF_INET6}) {
    const Connection made = connection(family);
    EXPECT_EQ(names_of(made.client), "") << family;
    EXPECT_EQ(names_of(made.server), "") << family;
  }
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

TEST_F(SocketStatesTest, WhatCannotBeCarriedIsCounted) {
  const auto states = [&] { return must(read_socket_states({getpid()}, netns_.get(), peer::NetworkState())); };
  const auto before = states();
  const ScopedFd raw = make(AF_INET, SOCK_RAW, IPPROTO_UDP), sender = make(AF_INET, SOCK_DGRAM);
  set(sender, IPPROTO_IP, IP_RECVERR, 1);
  const sockaddr_in nobody = loopback(1);
  ASSERT_EQ(::sendto(sender.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody), 1);
  pollfd refused{.fd = sender.get(), .events = 0, .revents = 0};
  ASSERT_EQ(::poll(&refused, 1, 5000), 1);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const ScopedFd near(pair[0]), far(pair[1]);
  must(send_packet(near.get(), "x", {raw.get()}));
  const auto found = states();
  EXPECT_EQ(found.in_flight(), before.in_flight() + 1);
  EXPECT_EQ(found.unread_left_behind(), before.unread_left_behind() + 1);
  EXPECT_EQ(found.errors_left_behind(), before.errors_left_behind() + 1);
  const auto restoring = SocketRestoring::apply(found, {getpid()});
  ASSERT_TRUE(restoring) << restoring.error().text();
  EXPECT_THAT(restoring->notes(), Contains(HasSubstr("error queues of 1 sockets")));
  EXPECT_THAT(restoring->notes(), Contains(HasSubstr("1 raw and packet sockets")));
  EXPECT_THAT(restoring->notes(), Contains(HasSubstr("1 descriptors on their way")));
}

TEST_F(SocketStatesTest, APeekOffsetOfCriusIsNotCarried) {
  const ScopedFd passing = make(AF_UNIX, SOCK_STREAM), own = make(AF_UNIX, SOCK_STREAM);
  set(passing, SOL_SOCKET, SO_PEEK_OFF, 0);  // while CRIU reads what waits in it
  set(own, SOL_SOCKET, SO_PEEK_OFF, 3);
  auto states = must(read_socket_states({getpid()}, netns_.get(), peer::NetworkState()));
  const auto offset_of = [&](const ScopedFd& socket) {
    int value = -1;
    for (const auto& state : states.sockets())
      for (const auto& option : state.options())
        if (state.fd() == static_cast<uint32_t>(socket.get()) && option.name() == SO_PEEK_OFF)
          std::memcpy(&value, option.value().data(), sizeof value);
    return value;
  };
  EXPECT_EQ(offset_of(passing), 0);
  set(passing, SOL_SOCKET, SO_PEEK_OFF, -1);
  set(own, SOL_SOCKET, SO_PEEK_OFF, 5);
  must(complete_socket_states({getpid()}, states));
  EXPECT_EQ(offset_of(passing), -1);
  EXPECT_EQ(offset_of(own), 5);
}

TEST_F(SocketStatesTest, WhatWasSetIsReadAndSetElsewhere) {
  const ScopedFd from = make(AF_INET6, SOCK_DGRAM), to = make(AF_INET6, SOCK_DGRAM);
  set(from, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  set(from, IPPROTO_IP, IP_TOS, 0x10);
  set(from, IPPROTO_IP, IP_RECVERR, 1);
  set(from, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
  set(from, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
  set(to, SOL_SOCKET, SO_PRIORITY, 3);
  for (const auto& option : options_of(from)) {
    must(check_socket_option(option));
    must(set_socket_option(to.get(), option));
  }
  EXPECT_EQ(names_of(to), names_of(from));
  EXPECT_EQ(get(to, SOL_SOCKET, SO_TIMESTAMPNS), 1);
  EXPECT_EQ(get(to, IPPROTO_IP, IP_TOS), 0x10);
  EXPECT_EQ(get(to, IPPROTO_IPV6, IPV6_TCLASS), 0x20);
  EXPECT_EQ(get(to, SOL_SOCKET, SO_PRIORITY), 3) << "CRIU had set it";
}

TEST_F(SocketStatesTest, AKeyIsFoundAndSignsOnTheOtherSide) {
  const ScopedFd from = make(AF_INET, SOCK_STREAM);
  peer::TcpKey key;
  key.set_address(std::string("\x7f\0\0\x01", 4));
  key.set_prefix(24);
  key.set_key("a secret");
  if (auto done = set_tcp_key(from.get(), key); !done) GTEST_SKIP() << done.error().text();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(from.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(from.get(), 1), 0);
  const auto states = must(read_socket_states({::getpid()}, netns_.get(), {}));
  ASSERT_EQ(states.sockets_size(), 1);
  ASSERT_EQ(states.sockets(0).fd(), static_cast<uint32_t>(from.get()));
  ASSERT_EQ(states.sockets(0).keys_size(), 1);
  EXPECT_EQ(states.sockets(0).keys(0).key(), "a secret");
  EXPECT_EQ(states.sockets(0).keys(0).prefix(), 24u);
}

TEST_F(SocketStatesTest, MembershipsAreReadAndJoinedAgain) {
  const ScopedFd member = make(AF_INET, SOCK_DGRAM);
  ip_mreqn request{};
  request.imr_multiaddr.s_addr = ::inet_addr("239.99.1.1");
  request.imr_ifindex = 1;
  ASSERT_EQ(::setsockopt(member.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request), 0);
  auto states = must(read_socket_states({::getpid()}, netns_.get(), {}));
  ASSERT_EQ(states.sockets_size(), 1);
  ASSERT_EQ(states.sockets(0).memberships_size(), 1);
  EXPECT_EQ(states.sockets(0).memberships(0).link(), 1u);
  must(check_socket_states(states));

  const ScopedFd other = make(AF_INET, SOCK_DGRAM);
  states.mutable_sockets(0)->set_fd(static_cast<uint32_t>(other.get()));
  auto restoring = must(SocketRestoring::apply(states, {::getpid()}));
  restoring.announce_groups();
  EXPECT_THAT(restoring.notes(), testing::IsEmpty());
  EXPECT_EQ(::setsockopt(other.get(), IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof request), 0);
}

TEST(MulticastGroups, GroupsOfEveryHostAreNotCounted) {
  const std::string igmp =
      "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n"
      "\t\t\t\t010000E0     1 0:00000000\t\t0\n2\teth0      :     2      V3\n"
      "\t\t\t\t010163EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
  const std::string igmp6 =
      "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
      "2    eth0            ff0200000000000000000001ff020061     1 00000004 0\n"
      "2    eth0            ff050000000000000000000000009901     1 00000004 0\nnonsense\n";
  const auto groups = joined_groups(igmp, igmp6);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].link, 2);
  EXPECT_EQ(groups[1].address.s6_addr[1], 5);
}

TEST_F(SocketStatesTest, WhatIsNotOnTheListIsRefused) {
  peer::SocketOption option;
  option.set_level(SOL_SOCKET);
  option.set_name(SO_ATTACH_FILTER);
  option.set_value(std::string(16, '\0'));
  EXPECT_THAT(check_socket_option(option).error().text(), HasSubstr("not on the list"));
  option.set_name(SO_TIMESTAMPNS);
  EXPECT_THAT(check_socket_option(option).error().text(), HasSubstr("odd size"));
  peer::Membership membership;
  membership.set_group(std::string("\x0a\0\0\x01", 4));
  membership.set_link(1);
  EXPECT_THAT(check_membership(membership).error().text(), HasSubstr("not a multicast address"));
  peer::TcpKey key;
  key.set_address(std::string(4, '\0'));
  key.set_key(std::string(81, 'x'));
  EXPECT_THAT(check_tcp_key(key).error().text(), HasSubstr("odd size"));
}

TEST_F(SocketStatesTest, AnotherFileInTheSocketsPlaceIsRefused) {
  peer::SocketStates states;
  states.add_sockets()->set_process(static_cast<uint32_t>(::getpid()));
  const ScopedFd file(::open("/dev/null", O_RDONLY));
  states.mutable_sockets(0)->set_fd(static_cast<uint32_t>(file.get()));
  const auto applied = SocketRestoring::apply(states, {::getpid()});
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().text(), HasSubstr("not restored as a socket"));
}

}  // namespace
}  // namespace godwit
