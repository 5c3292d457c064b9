#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "network/cni.h"
#include "network/cni_plugin.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

using testing::HasSubstr;

constexpr char kPlugins[] = "/usr/lib/cni";

// Debian's plugins, with host-local's store in a directory of the test's.
class Cni : public testing::Test {
 protected:
  Cni() {
    char text[] = "/tmp/cni-XXXXXX";
    directory = mkdtemp(text);
    paths = {.conf_dir = directory / "net.d", .bin_dir = kPlugins, .cache_dir = directory / "cache"};
    attachment.set_network("lan");
    attachment.set_container_id("0123abcd");
    attachment.set_interface("eth0");
    attachment.add_addresses("10.98.2.7/16");
    attachment.set_mac("02:00:0a:62:02:07");
    EXPECT_TRUE(make_directories(paths.conf_dir));
    configure(R"({"type":"bridge","bridge":"br0",)");
  }
  ~Cni() override { std::filesystem::remove_all(directory); }
  void SetUp() override {
    if (access((paths.bin_dir / "host-local").c_str(), X_OK) != 0)
      GTEST_SKIP() << "containernetworking-plugins is not installed";
  }
  // Its IPAM follows the beginning of the plugin's configuration.
  void configure(const std::string& plugin) {
    EXPECT_TRUE(write_file(paths.conf_dir / "10-lan.conflist",
                           R"({"cniVersion":"1.0.0","name":"lan","plugins":[)" + plugin +
                               R"("ipam":{"type":"host-local","dataDir":")" + (directory / "store").string() +
                               R"(","ranges":[[{"subnet":"10.98.0.0/16"}]]}}]})"));
  }
  bool allocated() const { return std::filesystem::exists(directory / "store/lan/10.98.2.7"); }
  bool cached() const { return std::filesystem::exists(paths.cache_dir / "results/lan-0123abcd-eth0"); }

  std::filesystem::path directory;
  CniPaths paths;
  peer::CniAttachment attachment;
  TestLan lan;
  std::string netns = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(lan.container.get());
};

TEST_F(Cni, WhatIsAllocatedIsGivenBackUnlessCommitted) {
  {
    auto allocation = CniAllocation::add(paths, attachment, netns);
    ASSERT_TRUE(allocation) << allocation.error().text();
    EXPECT_TRUE(allocated());
  }
  EXPECT_FALSE(allocated());
  EXPECT_FALSE(cached());
}

TEST_F(Cni, WhatIsCommittedIsFoundAndReleased) {
  {
    auto allocation = CniAllocation::add(paths, attachment, netns);
    ASSERT_TRUE(allocation) << allocation.error().text();
    ASSERT_TRUE(allocation->commit());
  }
  EXPECT_TRUE(allocated() && cached());
  auto found = find_cni_attachments(paths, netns);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].network(), "lan");
  EXPECT_EQ(found[0].addresses(0), "10.98.2.7/16");
  EXPECT_EQ(found[0].mac(), "02:00:0a:62:02:07");
  EXPECT_TRUE(find_cni_attachments(paths, "/run/netns/another").empty());
  auto released = release_cni(paths, found[0], netns);
  EXPECT_TRUE(released) << released.error().text();
  EXPECT_FALSE(allocated() || cached());
  EXPECT_EQ(run_in(lan.container, "ip -o link").find("eth0"), std::string::npos);  // the plugin has removed it
}

TEST_F(Cni, AnAddressThatIsTakenIsAnErrorAndStaysTheOthers) {
  ASSERT_TRUE(make_directories(directory / "store/lan"));
  ASSERT_TRUE(write_file(directory / "store/lan/10.98.2.7", "another\r\neth0"));
  auto allocation = CniAllocation::add(paths, attachment, netns);
  ASSERT_FALSE(allocation);
  EXPECT_THAT(allocation.error().text(), HasSubstr("CNI plugin host-local, ADD"));
  EXPECT_TRUE(allocated());
}

TEST_F(Cni, WhatCannotBeCarriedIsNamed) {
  EXPECT_EQ(cni_problem(paths, attachment), "");
  configure(R"({"type":"ptp",)");
  EXPECT_THAT(cni_problem(paths, attachment), HasSubstr("is of the type ptp"));
  configure(R"({"type":"bridge","ipMasq":true,)");
  EXPECT_THAT(cni_problem(paths, attachment), HasSubstr("ipMasq"));
  attachment.set_network("wan");
  EXPECT_THAT(cni_problem(paths, attachment), HasSubstr("'wan' of the container's eth0 is not in"));
}

TEST_F(Cni, NamesFromAPeerCannotLeadAnywhere) {
  for (const char* name : {"", "../../etc/passwd", "a/b", "-x", ".", "a\nb"}) {
    peer::CniAttachment bad = attachment;
    bad.set_container_id(name);
    EXPECT_THAT(cni_problem(paths, bad), HasSubstr("not valid")) << name;
  }
  for (const char* address : {"", "10.98.2.7", "10.98.2.7/16; rm", "x/16", "10.98.2.7/99999"}) {
    peer::CniAttachment bad = attachment;
    bad.set_addresses(0, address);
    EXPECT_THAT(cni_problem(paths, bad), HasSubstr("not valid")) << address;
  }
}

TEST_F(Cni, AForeignCacheIsNobodys) {
  ASSERT_TRUE(make_directories(paths.cache_dir / "results"));
  for (const char* text :
       {"", "{", "[]", "7", R"({"kind":"cniCacheV1"})",
        R"({"kind":"cniCacheV1","networkName":"n","containerId":"c","result":{"interfaces":7}})",
        R"({"kind":"cniCacheV1","networkName":"n","containerId":"c","result":{"interfaces":[7]}})"}) {
    ASSERT_TRUE(write_file(paths.cache_dir / "results/x", text));
    EXPECT_TRUE(find_cni_attachments(paths, netns).empty()) << text;
  }
}

}  // namespace
}  // namespace godwit::network
