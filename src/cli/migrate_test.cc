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

// What of REQUEST the agent gets for `godwit migrate web --to node2 OPTIONS…`.
control::MigrateRequest request_for(const std::vector<std::string>& options) {
  control::MigrateRequest got;
  FakeAnswers answers;
  answers.migrate = [&](const control::MigrateRequest& request, FakeCall& call) -> Result<> {
    got = request;
    call.send(report_with("migrated"));
    return {};
  };
  FakeAgent agent(answers);
  std::vector<std::string> arguments = kMigrate;
  arguments.insert(arguments.end(), options.begin(), options.end());
  EXPECT_EQ(run_godwit(agent.socket(), arguments).exit_code, 0);
  return got;
}

TEST(MigrateOptions, NotGivenIsTheAgentsDefault) {
  control::MigrateRequest expected;
  expected.set_container("web");
  expected.set_target("node2");
  EXPECT_EQ(request_for({}).SerializeAsString(), expected.SerializeAsString());
}

TEST(MigrateOptions, HowMemoryTravelsArrivesAtTheAgent) {
  const auto got = request_for({"--mode", "precopy", "--downtime-max", "0.1s", "--rounds-max", "7", "--timeout", "2min",
                                "--at-limit", "take-downtime", "--no-throttle", "--streams", "16", "--compress", "lz4",
                                "--bandwidth-max", "1gbit", "--tracking", "soft-dirty"});
  EXPECT_EQ(got.mode(), control::PRECOPY);
  EXPECT_EQ(got.downtime_max_ms(), 100);
  EXPECT_EQ(got.rounds_max(), 7U);
  EXPECT_EQ(got.timeout_s(), 120);
  EXPECT_EQ(got.at_limit(), control::TAKE_DOWNTIME);
  EXPECT_EQ(got.throttling(), control::NO_THROTTLE);
  EXPECT_EQ(got.streams(), 16U);
  EXPECT_EQ(got.compression(), control::LZ4);
  EXPECT_EQ(got.bandwidth_max(), 125'000'000U);
  EXPECT_EQ(got.tracking(), control::SOFT_DIRTY);
  EXPECT_EQ(request_for({"--throttle"}).throttling(), control::THROTTLE);
  EXPECT_EQ(run_godwit("/nowhere", {"migrate", "web", "--to", "node2", "--throttle", "--no-throttle"}).exit_code, 2);
}

TEST(MigrateOptions, BadValueIsAUsageErrorThatSaysWhatIsGood) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--downtime-max", "50", "50ms"},   {"--rounds-max", "0", "1 to"},         {"--timeout", "soon", "2min"},
      {"--at-limit", "panic", "roll-b"},  {"--streams", "17", "1 to 16"},        {"--compress", "gzip", "zstd"},
      {"--bandwidth-max", "50mb", "bit"}, {"--tracking", "guess", "soft-dirty"}, {"--mode", "warp", "hybrid"}};
  for (const auto& option : wrong) {
    const Ran ran = run_godwit("/nowhere", {"migrate", "web", "--to", "node2", option[0], option[1]});
    EXPECT_EQ(ran.exit_code, 2) << option[0];
    // --tracking is not told of: it is for tests.
    if (option[0] != "--tracking") {
      EXPECT_NE(ran.err.find(option[0]), std::string::npos) << ran.err;
    }
    EXPECT_NE(ran.err.find("'" + option[1] + "' is not"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find(option[2]), std::string::npos) << ran.err;
  }
}

TEST(Migrate, EveryRoundLeavesALine) {
  FakeAnswers answers;
  answers.migrate = [](const control::MigrateRequest&, FakeCall& call) -> Result<> {
    for (uint32_t number : {1, 2}) {
      control::Progress progress = progress_event(kId, "rounds", number == 1 ? 0 : 4096);
      progress.set_round(number);
      progress.mutable_round_ended()->set_pages(uint64_t{100} * number);
      call.send(progress);
    }
    call.send(report_with("migrated"));
    return {};
  };
  FakeAgent agent(answers);
  for (On on : {On::kPipe, On::kTerminal}) {
    const Ran ran = run_godwit(agent.socket(), kMigrate, on);
    EXPECT_NE(ran.err.find("100 pages"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("round 2"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("200 pages"), std::string::npos) << ran.err;
  }
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
