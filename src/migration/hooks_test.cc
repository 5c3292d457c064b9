#include "migration/hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "base/clock.h"
#include "base/file.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class Hooks : public testing::Test {
 protected:
  Hooks() {
    char text[] = "/tmp/hooks-XXXXXX";
    directory = mkdtemp(text);
  }
  ~Hooks() override { std::filesystem::remove_all(directory); }

  // The note, after a program with this text has run as `attached`.
  std::string run(const std::string& script, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto program = directory / "hook";
    EXPECT_TRUE(write_file(program, "#!/bin/sh\n" + script));
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    return start_hook({.attached = program, .detached = {}, .rolled_back = {}, .limit = limit}, facts()).get();
  }
  HookFacts facts() {
    peer::NetworkState network;
    network.add_links()->set_loopback(true);
    peer::Link& link = *network.add_links();
    link.set_name("eth0");
    link.set_mac("\x02\x01\x02\x03\x04\x05");
    peer::Address& address = *network.add_addresses();
    address.set_link("eth0");
    address.set_family(AF_INET);
    address.set_address("\x0a\x63\x02\x0b");
    address.set_prefix(16);
    HookFacts facts = hook_facts(HookPhase::kAttached, "echo", "0123456789abcdef", network);
    facts.node = "node2";
    facts.other = "node1";
    return facts;
  }
  std::filesystem::path directory;
};

TEST_F(Hooks, TheProgramFindsTheMoveInItsEnvironment) {
  EXPECT_EQ(run("echo $1 $GODWIT_PHASE $GODWIT_CONTAINER $GODWIT_MIGRATION $GODWIT_NODE $GODWIT_OTHER_NODE "
                "$GODWIT_INTERFACES $GODWIT_MACS $GODWIT_ADDRESSES >" +
                (directory / "said").string()),
            "");
  EXPECT_EQ(*read_file(directory / "said"),
            "attached attached echo 0123456789abcdef node2 node1 eth0 02:01:02:03:04:05 eth0=10.99.2.11/16\n");
}

TEST_F(Hooks, WhatAFailedOneSaidIsInTheNote) {
  const std::string note = run("echo no route to the controller >&2; exit 7");
  EXPECT_THAT(note, HasSubstr("hooks.attached on node2 failed"));
  EXPECT_THAT(note, HasSubstr("exit status 7: no route to the controller"));
}

TEST_F(Hooks, OneThatHangsIsKilledWithItsGroup) {
  Stopwatch watch;
  const std::string child = (directory / "child").string();
  const std::string note = run("sleep 100 & echo $! >" + child + "; wait", std::chrono::milliseconds(500));
  EXPECT_LT(watch.ms(), 5000);
  EXPECT_THAT(note, HasSubstr("did not finish within 500 ms and was killed"));
  const pid_t pid = std::stoi(*read_file(child));
  const Deadline deadline = Clock::now() + std::chrono::seconds(5);
  auto lives = [&] {  // a zombie of another parent does not
    auto status = read_file("/proc/" + std::to_string(pid) + "/stat");
    return status && status->find(") Z") == std::string::npos;
  };
  while (lives() && Clock::now() < deadline) usleep(1000);
  EXPECT_FALSE(lives());
}

TEST_F(Hooks, AMissingOneIsFoundBeforeAnythingIsTouched) {
  EXPECT_THAT(hook_problem({.attached = {}, .detached = "/no/such/hook", .rolled_back = {}}),
              HasSubstr("hooks.detached in its godwit.toml is /no/such/hook"));
  EXPECT_EQ(hook_problem({.attached = {}, .detached = "/bin/true", .rolled_back = {}}), "");
  EXPECT_EQ(hook_problem({}), "");
  EXPECT_THAT(start_hook({.attached = "/no/such/hook", .detached = {}, .rolled_back = {}}, facts()).get(),
              HasSubstr("/no/such/hook"));
}

TEST_F(Hooks, WithoutAProgramNothingHappens) { EXPECT_EQ(start_hook({}, facts()).get(), ""); }

}  // namespace
}  // namespace godwit
