#include <gtest/gtest.h>

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
    return RecreatedNamespace::create(*state, test_netns_path("announce"), "br0", "00000000000000aa");
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
