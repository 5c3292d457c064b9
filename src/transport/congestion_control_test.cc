#include "transport/congestion_control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

#include "transport/test_certificates.h"

namespace godwit {
namespace {

std::string in_use(int socket) {
  char name[16] = {};  // TCP_CA_NAME_MAX
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  return {name, strnlen(name, size)};
}

TEST(CongestionControl, ItIsTheOneThatIsAskedFor) {
  TestPort port;
  const ScopedFd client = must(connect_tcp(port.address(), in_ms(5000)));
  must(use_congestion_control(client.get(), "reno"));  // part of every kernel
  EXPECT_EQ(in_use(client.get()), "reno");
  must(use_congestion_control(client.get(), ""));
  EXPECT_EQ(in_use(client.get()), "reno") << "the one it has";
}

TEST(CongestionControl, OneThatTheKernelDoesNotHaveIsSaid) {
  must(check_congestion_control(""));
  must(check_congestion_control("reno"));
  auto unknown = check_congestion_control("fastest");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ENOENT);
  EXPECT_EQ(unknown.error().text(), "the kernel has no congestion control 'fastest'");
}

TEST(CongestionControl, BbrIsNotForPeersNearby) {
  if (!check_congestion_control("bbr") || !check_congestion_control("cubic"))
    GTEST_SKIP() << "the kernel has no BBR or no CUBIC";
  TestPort port;
  const ScopedFd client = must(connect_tcp(port.address(), in_ms(5000)));
  must(use_congestion_control(client.get(), "bbr"));
  EXPECT_EQ(in_use(client.get()), "bbr") << "where it is asked for by name";
  must(use_congestion_control(client.get(), ""));
  EXPECT_EQ(in_use(client.get()), "cubic");

  const ScopedFd without_a_round_trip(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(use_congestion_control(without_a_round_trip.get(), "bbr"));
  must(use_congestion_control(without_a_round_trip.get(), ""));
  EXPECT_EQ(in_use(without_a_round_trip.get()), "bbr") << "as nobody knows how far it is";
}

}  // namespace
}  // namespace godwit
