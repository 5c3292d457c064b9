#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <thread>

#include "kernel/rtnetlink.h"
#include "kernel/tap.h"

namespace godwit {
namespace {

// BODY runs on a thread with a network namespace of its own.
void in_new_netns(const std::function<void()>& body) {
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    body();
  }).join();
}

NetlinkRequest bridge_request(const std::string& name) {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  request.add_string(IFLA_IFNAME, name);
  request.nest(IFLA_LINKINFO, [](NetlinkRequest& info) { info.add_string(IFLA_INFO_KIND, "bridge"); });
  return request;
}

TEST(NetlinkRequest, NestedAttributesAreReadBack) {
  NetlinkRequest request(RTM_NEWLINK, 0, ifinfomsg{});
  request.add_u8(1, 7).add_string(2, "abc").nest(
      3, [](NetlinkRequest& nest) { nest.add_u32(4, 1'000'000).add(5, "xyz"); });
  NetlinkMessage message{.type = 0, .flags = 0, .body = request.bytes().substr(NLMSG_HDRLEN)};
  auto attributes = message.attributes<ifinfomsg>();
  EXPECT_EQ(attributes.u8(1), 7);
  EXPECT_EQ(attributes.string(2), "abc");
  NetlinkAttributes nest = attributes.nested(3);
  EXPECT_EQ(nest.u32(4), 1'000'000U);
  EXPECT_EQ(nest.bytes(5), "xyz");
  EXPECT_FALSE(attributes.u32(2).has_value() && attributes.u32(9).has_value());
  EXPECT_TRUE(attributes.bytes(9).empty());
}

TEST(NetlinkAttributes, LengthsThatLieEndTheList) {
  std::string bytes(
      "\x08\x00\x01\x00"
      "abcd"
      "\xff\x00\x02\x00"
      "ab",
      14);
  NetlinkAttributes attributes(bytes);
  EXPECT_EQ(attributes.bytes(1), "abcd");
  EXPECT_FALSE(attributes.has(2));
  EXPECT_TRUE(NetlinkAttributes(std::string_view("\x02\x00\x01\x00", 4)).all().empty());
}

TEST(RouteSocket, EveryRequestOfABatchHasItsOwnVerdict) {
  in_new_netns([] {
    auto socket = RouteSocket::open();
    ASSERT_TRUE(socket);
    std::vector<NetlinkRequest> requests;
    for (int i = 0; i < 100; ++i) requests.push_back(bridge_request("d" + std::to_string(i / 2)));
    auto verdicts = socket->call_all(requests);
    ASSERT_TRUE(verdicts) << verdicts.error().text();
    ASSERT_EQ(verdicts->size(), 100U);
    for (size_t i = 0; i < 100; ++i) {
      EXPECT_EQ((*verdicts)[i].has_value(), i % 2 == 0) << i;
      if (i % 2) {
        EXPECT_EQ((*verdicts)[i].error().code(), EEXIST);
      }
    }
    size_t links = 0;
    ASSERT_TRUE(socket->dump(
        NetlinkRequest(RTM_GETLINK, 0, ifinfomsg{}), [&](const NetlinkMessage&) { ++links; }, [&] { links = 0; }));
    EXPECT_EQ(links, 51U);
  });
}

TEST(RouteSocket, ARefusalCarriesTheKernelsOwnWords) {
  in_new_netns([] {
    auto socket = RouteSocket::open();
    ASSERT_TRUE(socket);
    NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE, ifinfomsg{});
    request.nest(IFLA_LINKINFO, [](NetlinkRequest& info) { info.add_string(IFLA_INFO_KIND, "no-such-kind"); });
    auto refused = socket->call(request);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("nknown device type"), std::string::npos) << refused.error().text();
  });
}

TEST(RouteSocket, AQueryForWhatIsMissingIsAnError) {
  in_new_netns([] {
    auto socket = RouteSocket::open();
    ASSERT_TRUE(socket);
    ifinfomsg header{};
    header.ifi_index = 4711;
    auto refused = socket->query(NetlinkRequest(RTM_GETLINK, 0, header), [](const NetlinkMessage&) { FAIL(); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ENODEV);
  });
}

TEST(Tap, GoesWithItsDescriptor) {
  in_new_netns([] {
    {
      auto tap = make_tap("gwt-tap");
      ASSERT_TRUE(tap) << tap.error().text();
      EXPECT_EQ(if_nametoindex("gwt-tap"), tap->index);
      EXPECT_FALSE(make_tap("gwt-tap"));
    }
    EXPECT_EQ(if_nametoindex("gwt-tap"), 0U);
  });
}

}  // namespace
}  // namespace godwit
