#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "network/announce.h"
#include "network/capture.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

// By which of its ports the LAN's bridge would send to the container.
std::string learned_port(TestLan& lan) {
  return run_in(lan.lan, "bridge fdb show | sed -n 's/^02:00:0a:62:02:07 dev \\([a-z]*\\).*/\\1/p'");
}

TEST(Announce, TheMacMovesToTheTargetsPort) {
  TestLan lan;
  lan.ping("10.98.2.7");
  EXPECT_EQ(learned_port(lan), "toa\n");
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state) << state.error().text();
  auto made = in_netns(lan.b.get(), [&] {
    return RecreatedNamespace::create(on_bridge(*state, "br0"), test_netns_path("announce"), "00000000000000aa");
  });
  ASSERT_TRUE(made) << made.error().text();
  ASSERT_TRUE(made->attach());
  auto announcer = Announcer::open(made->netns_fd(), *state);
  ASSERT_TRUE(announcer) << announcer.error().text();
  EXPECT_EQ(announcer->frames(), 3U);  // IPv4, IPv6, fe80
  Stopwatch watch;
  ASSERT_TRUE(announcer->send());
  std::printf("announce: %.3f ms\n", watch.ms());
  EXPECT_EQ(learned_port(lan), "tob\n");
}

// A packet socket that sees all that a link receives.
ScopedFd listener_on(const ScopedFd& netns, const char* link) {
  auto fd = in_netns(netns.get(), [&]() -> Result<ScopedFd> {
    ScopedFd socket(::socket(AF_PACKET, SOCK_RAW, 0));
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(if_nametoindex(link));
    if (bind(socket.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) return fail_errno("bind");
    return socket;
  });
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : ScopedFd();
}

struct Seen {
  int arp = 0;             // announcements of 10.98.2.7
  int advertisements = 0;  // unsolicited ones of fd98::7
};

Seen received(const ScopedFd& socket) {
  Seen seen;
  char frame[2048];
  for (ssize_t bytes; (bytes = recv(socket.get(), frame, sizeof(frame), MSG_DONTWAIT)) > 0;) {
    std::string_view text(frame, static_cast<size_t>(bytes));
    if (text.size() >= 42 && text.substr(12, 2) == "\x08\x06" && text.substr(28, 4) == "\x0a\x62\x02\x07") ++seen.arp;
    // The Override flag is set, Solicited is not (RFC 4861 7.2.6).
    if (text.size() >= 86 && text.substr(12, 2) == "\x86\xdd" && text[54] == '\x88' && text[58] == '\x20' &&
        text[62] == '\xfd')
      ++seen.advertisements;
  }
  return seen;
}

// RFC 5227: two ARP announcements, 2 s apart. RFC 4861: three advertisements, 1 s apart.
TEST(Announce, RepeatsAreThoseOfTheRfcs) {
  TestLan lan;
  lan.ping("10.98.2.7");
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  auto announcer = Announcer::open(lan.container.get(), *state);
  ASSERT_TRUE(announcer);
  ScopedFd client = listener_on(lan.client, "eth0");
  auto expect = [&](int arp, int advertisements) {
    Seen seen = received(client);
    EXPECT_EQ(seen.arp, arp);
    EXPECT_EQ(seen.advertisements, advertisements);
  };
  ASSERT_TRUE(announcer->send());
  expect(1, 1);
  ASSERT_TRUE(announcer->repeat(1));
  expect(0, 1);
  ASSERT_TRUE(announcer->repeat(2));
  expect(1, 1);
  EXPECT_EQ(kAnnouncementRepeats, 2);
}

// A ── lan ── middle ── far ── client, and host B beside them at the middle: the first burst alone turns every bridge
// that has to be turned.
TEST(Announce, EveryBridgeOnTheWayLearns) {
  TestLan lan;
  ScopedFd middle = new_netns(), far = new_netns(), client = new_netns(), host = new_netns();
  for (const ScopedFd* bridge : {&middle, &far, &host})
    run_in(*bridge, "ip link add br0 type bridge; ip link set br0 up");
  TestLan::connect(lan.lan, "tomid", "lan", middle, "dn");
  TestLan::connect(middle, "tofar", "br0", far, "dn");
  TestLan::connect(middle, "tohost", "br0", host, "dn");
  TestLan::connect(far, "tocli", "br0", client, "eth0");
  for (const ScopedFd* bridge : {&middle, &far, &host}) run_in(*bridge, "ip link set dn master br0");
  run_in(client, "ip addr add 10.98.0.3/16 dev eth0; ip addr add fd98::3/64 dev eth0 nodad; ping -c1 -W2 10.98.2.7");
  auto port = [](const ScopedFd& bridge) {
    return run_in(bridge, "bridge fdb show | sed -n 's/^02:00:0a:62:02:07 dev \\([a-z]*\\).*/\\1/p'");
  };
  EXPECT_EQ(learned_port(lan) + port(middle) + port(far), "toa\ndn\ndn\n");

  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  auto made = in_netns(host.get(), [&] {
    return RecreatedNamespace::create(on_bridge(*state, "br0"), test_netns_path("bridges"), "00000000000000ab");
  });
  ASSERT_TRUE(made) << made.error().text();
  run_in(lan.a, "ip link set c0 nomaster");
  ASSERT_TRUE(made->attach());
  ASSERT_TRUE(announce(made->netns_fd(), *state));
  EXPECT_EQ(learned_port(lan) + port(middle) + port(far), "tomid\ntohost\ndn\n");
  EXPECT_NE(run_in(client, "ping -c1 -W2 10.98.2.7").find("1 received"), std::string::npos);
  EXPECT_NE(lan.ping("fd98::7").find("1 received"), std::string::npos);
}

TEST(Announce, NeighboursWithAnEntryAreCorrected) {
  TestLan lan;
  lan.ping("10.98.2.7");
  lan.ping("fd98::7");
  run_in(lan.client,
         "ip neigh replace 10.98.2.7 lladdr 02:00:00:00:00:99 dev eth0 nud stale; "
         "ip neigh replace fd98::7 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  ASSERT_TRUE(announce(lan.container.get(), *state));
  std::string entries = run_in(lan.client, "ip neigh show; ip -6 neigh show");
  EXPECT_EQ(entries.find("02:00:00:00:00:99"), std::string::npos) << entries;
}

}  // namespace
}  // namespace godwit::network
