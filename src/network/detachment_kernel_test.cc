#include <gtest/gtest.h>

#include "base/clock.h"
#include "network/detachment.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

class Detachment : public testing::Test {
 protected:
  Result<PortDetachment> prepare() {
    return in_netns(lan.a.get(), [&]() -> Result<PortDetachment> {
      TRY_ASSIGN(auto ports, find_host_ports(lan.container.get()));
      return PortDetachment::prepare(std::move(ports));
    });
  }
  bool on_bridge() { return run_in(lan.a, "ip -o link show c0").find("master br0") != std::string::npos; }
  bool up() { return run_in(lan.a, "ip -o link show c0").find("state UP") != std::string::npos; }

  TestLan lan;
};

TEST_F(Detachment, TheLinkStaysUpAndThePortComesBackWithItsSettings) {
  run_in(lan.a, "bridge link set dev c0 isolated on learning off cost 77");
  auto detachment = prepare();
  ASSERT_TRUE(detachment) << detachment.error().text();
  EXPECT_TRUE(on_bridge());
  Stopwatch watch;
  ASSERT_TRUE(detachment->detach());
  std::printf("detach: %.2f ms\n", watch.ms());
  EXPECT_FALSE(on_bridge());
  EXPECT_TRUE(up());
  ASSERT_TRUE(detachment->reattach());
  EXPECT_TRUE(on_bridge());
  std::string settings = run_in(lan.a, "bridge -d link show dev c0");
  for (const char* setting : {"isolated on", "learning off", "cost 77", "state forwarding"})
    EXPECT_NE(settings.find(setting), std::string::npos) << settings;
}

TEST_F(Detachment, IsUndoneAtTheEndOfScopeUnlessCommitted) {
  {
    auto detachment = prepare();
    ASSERT_TRUE(detachment && detachment->detach());
    PortDetachment moved = std::move(*detachment);
  }
  EXPECT_TRUE(on_bridge());
  {
    auto detachment = prepare();
    ASSERT_TRUE(detachment && detachment->detach());
    detachment->commit();
  }
  EXPECT_FALSE(on_bridge());
}

TEST_F(Detachment, AnotherProcessPutsThePortBackFromTheRecord) {
  run_in(lan.a, "bridge link set dev c0 isolated on learning off cost 77");
  std::string record;
  {
    auto detachment = prepare();
    ASSERT_TRUE(detachment && detachment->detach());
    record = detachment->record();
    detachment->commit();  // as if the process had been killed
  }
  EXPECT_FALSE(on_bridge());
  auto recorded = in_netns(lan.a.get(), [&] { return PortDetachment::recorded(record); });
  ASSERT_TRUE(recorded) << recorded.error().text();
  ASSERT_TRUE(recorded->reattach());
  EXPECT_TRUE(on_bridge());
  std::string settings = run_in(lan.a, "bridge -d link show dev c0");
  for (const char* setting : {"isolated on", "learning off", "cost 77"})
    EXPECT_NE(settings.find(setting), std::string::npos) << settings;
  EXPECT_FALSE(PortDetachment::recorded(record.substr(0, record.size() / 2)));
}

TEST_F(Detachment, APortThatVanishedIsNoObstacleToGoingBack) {
  auto detachment = prepare();
  ASSERT_TRUE(detachment && detachment->detach());
  run_in(lan.a, "ip link del c0");
  EXPECT_TRUE(detachment->reattach());
}

}  // namespace
}  // namespace godwit::network
