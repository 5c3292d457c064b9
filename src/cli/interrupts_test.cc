#include "cli/interrupts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

#include "cli/inbox.h"

namespace godwit::cli {
namespace {

using namespace std::chrono_literals;

TEST(Interrupts, EachSignalIsACall) {
  Inbox<int> inbox;
  const Interrupts interrupts([&](int signal) { inbox.push(signal); });
  for (int signal : {SIGINT, SIGTERM}) {
    ::kill(::getpid(), signal);
    EXPECT_EQ(inbox.pop_until(Clock::now() + 5s), signal);
  }
}

TEST(Interrupts, AnIgnoredSignalStaysIgnored) {
  ::signal(SIGINT, SIG_IGN);
  {
    Inbox<int> inbox;
    const Interrupts interrupts([&](int signal) { inbox.push(signal); });
    ::kill(::getpid(), SIGINT);
    ::kill(::getpid(), SIGTERM);
    EXPECT_EQ(inbox.pop_until(Clock::now() + 5s), SIGTERM);
    EXPECT_EQ(inbox.pop_until(Clock::now()), std::nullopt);
  }
  ::signal(SIGINT, SIG_IGN);  // discards the one that waits, blocked by fake_agent_test.cc
  ::signal(SIGINT, SIG_DFL);
}

}  // namespace
}  // namespace godwit::cli
