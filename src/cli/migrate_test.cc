// godwit migrate against a fake agent: exit statuses, what goes where, ^C.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <nlohmann/json.hpp>

#include "cli/fake_agent.h"

namespace godwit::cli {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr const char* kId = "0123456789abcdef";
const std::vector<std::string> kMigrate = {"migrate", "web", "--to", "node2"};
const std::vector<std::string> kMigrateJson = {"migrate", "web", "--to", "node2", "--json"};

FakeAnswers ends_with(const std::string& outcome) {
  FakeAnswers answers;
  answers.migrate = [outcome](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    call.send(progress_event(kId, "check"));
    call.send(progress_event(kId, "dump"));
    call.send(progress_event(kId, "dump", 4096));
    call.send(report_with(outcome));
    return {};
  };
  return answers;
}

FakeAnswers fails_with(Error error) {
  FakeAnswers answers;
  answers.migrate = [error](const control::MigrateRequest&, FakeCall&) -> Result<> { return fail(error); };
  return answers;
}

// ^C once the call is there; then a rollback, if the Cancel arrives.
FakeAnswers interrupted_at(const std::function<void(FakeCall&)>& begin, std::string* cancelled) {
  FakeAnswers answers;
  answers.migrate = [=](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    begin(call);
    *cancelled = call.await_cancel();
    call.send(report_with("rolled_back"));
    return {};
  };
  return answers;
}

TEST(Migrate, ExitStatusFollowsTheOutcome) {
  for (auto [outcome, code] : {std::pair("migrated", 0), std::pair("rolled_back", 3), std::pair("failed", 1)}) {
    FakeAgent agent(ends_with(outcome));
    EXPECT_EQ(run_godwit(agent.socket(), kMigrate).exit_code, code) << outcome;
  }
}

TEST(Migrate, JsonIsAllThatStandardOutputGets) {
  FakeAgent agent(ends_with("migrated"));
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  EXPECT_EQ(json::parse(ran.out)["outcome"], "migrated");
  EXPECT_EQ(ran.last_line() + "\n", ran.out);
  EXPECT_NE(ran.err.find("check: check it"), std::string::npos) << ran.err;
}

TEST(Migrate, QuietSaysNothingOnStandardError) {
  FakeAgent agent(ends_with("rolled_back"));
  EXPECT_EQ(run_godwit(agent.socket(), {"migrate", "web", "--to", "node2", "-q", "--json"}).err, "");
}

TEST(Migrate, ModeAndNamesArriveAtTheAgent) {
  control::MigrateRequest got;
  FakeAnswers answers;
  answers.migrate = [&](const control::MigrateRequest& request, FakeCall& call) -> Result<> {
    got = request;
    call.send(report_with("migrated"));
    return {};
  };
  FakeAgent agent(answers);
  run_godwit(agent.socket(), {"migrate", "web", "--to", "node2", "--mode", "postcopy"});
  EXPECT_EQ(got.container(), "web");
  EXPECT_EQ(got.target(), "node2");
  EXPECT_EQ(got.mode(), control::POSTCOPY);
}

TEST(Migrate, TerminalIsLeftWithFinishedPhasesOnly) {
  FakeAgent agent(ends_with("rolled_back"));
  const Ran ran = run_godwit(agent.socket(), kMigrate, On::kTerminal);
  EXPECT_NE(ran.err.find("\r+ check"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("\rx dump"), std::string::npos) << ran.err;
  EXPECT_TRUE(ran.err.ends_with("dump it\x1b[K\n")) << ran.err;
}

TEST(Migrate, RefusalOfTheAgentIsAFailureThatBeganNothing) {
  FakeAgent agent(fails_with(Error("web is migrating already")));
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  EXPECT_EQ(ran.exit_code, 1);
  const json report = json::parse(ran.last_line());
  EXPECT_EQ(report["outcome"], "failed");
  EXPECT_EQ(report["error"], "web is migrating already");
  EXPECT_EQ(report["state"], "as before: the migration had not begun");
}

TEST(Migrate, AgentThatDiesMidwayIsAFailureOfUnknownState) {
  FakeAnswers answers;
  answers.migrate = [](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    call.send(progress_event(kId, "dump"));
    return fail(Error("died", ECONNRESET));
  };
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  EXPECT_EQ(ran.exit_code, 1);
  const json report = json::parse(ran.last_line());
  EXPECT_EQ(report["id"], kId);
  EXPECT_EQ(report["error"], "the agent was lost: the agent stopped answering");
}

TEST(Migrate, NoAgentIsFourAndStillJson) {
  const Ran ran = run_godwit("/nowhere/godwitd.sock", kMigrateJson);
  EXPECT_EQ(ran.exit_code, 4);
  EXPECT_EQ(json::parse(ran.last_line())["outcome"], "failed");
  EXPECT_NE(ran.err.find("systemctl start godwitd"), std::string::npos);
}

TEST(Migrate, BadNameIsAUsageError) {
  EXPECT_EQ(run_godwit("/nowhere", {"migrate", "a/b", "--to", "node2"}).exit_code, 2);
  EXPECT_EQ(run_godwit("/nowhere", {"migrate", "web"}).exit_code, 2);
  EXPECT_EQ(run_godwit("/nowhere", {"migrate", "web", "--to", "n", "--mode", "warp"}).exit_code, 2);
}

TEST(MigrateInterrupt, FirstSendsCancelAndAwaitsTheReport) {
  std::string cancelled;
  FakeAgent agent(interrupted_at(
      [](FakeCall& call) {
        call.send(progress_event(kId, "dump"));
        press_interrupt();
      },
      &cancelled));
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  EXPECT_EQ(cancelled, kId);
  EXPECT_EQ(ran.exit_code, 3);
  EXPECT_EQ(json::parse(ran.last_line())["outcome"], "rolled_back");
  EXPECT_NE(ran.err.find("cancelling; web goes on"), std::string::npos) << ran.err;
}

TEST(MigrateInterrupt, BeforeTheIdIsKnownWaitsForIt) {
  std::string cancelled;
  FakeAgent agent(interrupted_at(
      [](FakeCall& call) {
        press_interrupt();
        std::this_thread::sleep_for(50ms);  // either order must do; this makes the rare one likely
        call.send(progress_event(kId, "dump"));
      },
      &cancelled));
  EXPECT_EQ(run_godwit(agent.socket(), kMigrate).exit_code, 3);
  EXPECT_EQ(cancelled, kId);
}

TEST(MigrateInterrupt, WithoutAnIdEndsTheCall) {
  std::string cancelled = "not yet";
  FakeAgent agent(interrupted_at([](FakeCall&) { press_interrupt(); }, &cancelled));
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(json::parse(ran.last_line())["error"], "cancelled before the agent had begun");
}

TEST(MigrateInterrupt, SecondLeavesAndEndsTheCall) {
  std::promise<void> ended;
  FakeAnswers answers;
  answers.migrate = [&](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    call.send(progress_event(kId, "dump"));
    press_interrupt();
    EXPECT_EQ(call.await_cancel(), kId);
    press_interrupt();
    return fail((ended.get_future().wait(), Error("ended")));
  };
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), kMigrateJson);
  ended.set_value();
  EXPECT_EQ(ran.exit_code, 130);
  EXPECT_EQ(json::parse(ran.last_line())["outcome"], "failed");
  EXPECT_NE(ran.err.find("the agent goes on cancelling"), std::string::npos) << ran.err;
}

TEST(MigrateInterrupt, TooLateLetsTheMigrationEnd) {
  FakeAnswers answers;
  answers.cancel = fail("too late: the container runs on node2");
  answers.migrate = [](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    call.send(progress_event(kId, "resume"));
    press_interrupt();
    call.await_cancel();
    std::this_thread::sleep_for(100ms);
    call.send(report_with("migrated"));
    return {};
  };
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), kMigrate);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_NE(ran.err.find("not cancelled: too late"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace godwit::cli
