#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/file.h"
#include "base/subprocess.h"
#include "kernel/netns.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

std::string own_path(const std::string& suffix) { return "/run/netns/gwt-" + std::to_string(getpid()) + "-" + suffix; }

TEST(Netns, ANamedNamespaceIsKnownToIpNetns) {
  std::string path = own_path("named"), name = std::filesystem::path(path).filename();
  ASSERT_TRUE(create_named_netns(path));
  auto list = run_checked({.argv = {"ip", "netns", "list"}}, 10s);
  auto links = run_checked({.argv = {"ip", "netns", "exec", name, "ip", "-br", "link"}}, 10s);
  EXPECT_TRUE(remove_named_netns(path));
  ASSERT_TRUE(list) << list.error().text();
  EXPECT_NE(list->find(name), std::string::npos);
  ASSERT_TRUE(links) << links.error().text();
  EXPECT_EQ(split_lines(*links).size(), 1U) << *links;  // its loopback
  EXPECT_FALSE(std::filesystem::exists(path));
}

// On a host that has had no named namespace since its start.
TEST(Netns, ItsNameCanBeRemovedAfterIpNetnsHasMadeAnother) {
  std::thread([] {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("test", "/run", "tmpfs", 0, nullptr), 0);
    ASSERT_TRUE(create_named_netns("/run/netns/first"));
    ASSERT_TRUE(run_checked({.argv = {"ip", "netns", "add", "second"}}, 10s));
    auto removed = remove_named_netns("/run/netns/first");
    EXPECT_TRUE(removed) << removed.error().text();
    EXPECT_FALSE(std::filesystem::exists("/run/netns/first"));
    EXPECT_TRUE(run_checked({.argv = {"ip", "netns", "delete", "second"}}, 10s));
  }).join();
}

TEST(Netns, CreatingDoesNotMoveTheCaller) {
  auto before = open_current_netns();
  ASSERT_TRUE(create_named_netns(own_path("caller")));
  auto after = open_current_netns();
  EXPECT_TRUE(remove_named_netns(own_path("caller")));
  ASSERT_TRUE(before && after);
  EXPECT_TRUE(same_netns(before->get(), after->get()).value_or(false));
}

TEST(Netns, ATakenPathIsRefusedAndLeftAlone) {
  std::string path = own_path("taken");
  ASSERT_TRUE(create_named_netns(path));
  EXPECT_FALSE(create_named_netns(path));
  EXPECT_TRUE(open_netns(path));
  EXPECT_TRUE(remove_named_netns(path));
  EXPECT_TRUE(remove_named_netns(path));  // gone already
}

TEST(Netns, TheThreadReturnsAtTheEndOfScope) {
  std::string path = own_path("scope");
  ASSERT_TRUE(create_named_netns(path));
  auto home = open_current_netns();
  auto other = open_netns(path);
  ASSERT_TRUE(home && other);
  {
    auto inside = ScopedNetns::enter(other->get());
    ASSERT_TRUE(inside);
    ScopedNetns moved = std::move(*inside);
    EXPECT_TRUE(same_netns(open_current_netns()->get(), other->get()).value_or(false));
  }
  EXPECT_TRUE(same_netns(open_current_netns()->get(), home->get()).value_or(false));
  auto found = in_netns(other->get(), []() -> Result<int> { return fail("reported"); });
  EXPECT_FALSE(found);
  EXPECT_TRUE(same_netns(open_current_netns()->get(), home->get()).value_or(false));
  EXPECT_TRUE(remove_named_netns(path));
}

TEST(Netns, WhatIsNoNetworkNamespaceIsRefused) {
  for (const char* path : {"/proc/self/ns/mnt", "/dev/null", "/etc/passwd", "/proc/self/ns/none"})
    EXPECT_FALSE(open_netns(path)) << path;
}

}  // namespace
}  // namespace godwit
