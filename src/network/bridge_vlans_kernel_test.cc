#include <gtest/gtest.h>

#include "network/announce.h"
#include "network/bridge_vlans.h"
#include "network/capture.h"
#include "network/frame_hold.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

// All bridges filter VLANs; the container's port and the client's are untagged in VLAN 30, the uplinks carry it tagged.
class BridgeVlans : public testing::Test {
 protected:
  void SetUp() override {
    if (run_in(lan.lan, "ip link set lan type bridge vlan_filtering 1 2>/dev/null || echo no") == "no\n")
      GTEST_SKIP() << "this kernel has no VLAN-aware bridges (CONFIG_BRIDGE_VLAN_FILTERING)";
    for (const ScopedFd* host : {&lan.a, &lan.b})
      run_in(*host, "ip link set br0 type bridge vlan_filtering 1; bridge vlan add vid 30 dev up0");
    run_in(lan.lan,
           "bridge vlan add vid 30 dev toa; bridge vlan add vid 30 dev tob; "
           "bridge vlan add vid 30 dev toc pvid untagged; bridge vlan del vid 1 dev toc");
    run_in(lan.a,
           "bridge vlan add vid 30 dev c0 pvid untagged; bridge vlan del vid 1 dev c0; "
           "bridge vlan add vid 40 dev c0");
    EXPECT_NE(lan.ping("10.98.2.7").find("1 received"), std::string::npos);
  }
  template <typename F>
  auto on_a(F&& f) {
    auto result = in_netns(lan.a.get(), std::forward<F>(f));
    EXPECT_TRUE(result) << result.error().text();
    return std::move(*result);
  }
  static std::string vlans_of(const ScopedFd& host, const std::string& port) {
    return run_in(host, "bridge vlan show dev " + port + " | tail -n +2 | sed 's/^[^ \t]*[ \t]*//'");
  }

  TestLan lan;
};

TEST_F(BridgeVlans, ThePortHasItsVlansOnTheTargetAndAfterARollback) {
  auto ports = on_a([&] { return find_host_ports(lan.container.get()); });
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  note_bridges(ports, *state);
  const std::string before = vlans_of(lan.a, "c0");
  {
    auto detachment = on_a([&] { return PortDetachment::prepare(ports); });
    auto hold = on_a([&] { return FrameHold::prepare(ports, *state, "00000000000000f1"); });
    ASSERT_TRUE(hold.begin(detachment));
    run_in(lan.client, "ping -c1 -W0.3 10.98.2.7 || :");
    EXPECT_GT(hold.count().frames_held, 0U);
    ASSERT_TRUE(hold.give_back(detachment));
  }
  EXPECT_EQ(vlans_of(lan.a, "c0"), before);
  EXPECT_NE(lan.ping("10.98.2.7").find("1 received"), std::string::npos);

  auto made = in_netns(
      lan.b.get(), [&] { return RecreatedNamespace::create(*state, test_netns_path("vlans"), "00000000000000f2"); });
  ASSERT_TRUE(made) << made.error().text();
  auto detachment = on_a([&] { return PortDetachment::prepare(ports); });
  ASSERT_TRUE(detachment.detach());
  ASSERT_TRUE(made->attach());
  ASSERT_TRUE(announce(made->netns_fd(), *state));
  EXPECT_EQ(vlans_of(lan.b, made->host_ends()[0].name), before);
  EXPECT_NE(lan.ping("10.98.2.7").find("1 received"), std::string::npos);
  detachment.commit();
}

}  // namespace
}  // namespace godwit::network
