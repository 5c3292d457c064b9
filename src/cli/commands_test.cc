// check, ps, status, cancel, version and pki, against a fake agent where they ask one.
#include "cli/commands.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <nlohmann/json.hpp>

#include "cli/agent_socket.h"
#include "cli/fake_agent.h"

namespace godwit::cli {
namespace {

using nlohmann::json;

void add_finding(control::CheckReply::Finding* finding, const char* host, const char* text) {
  finding->set_host(host);
  finding->set_subject("bridge");
  finding->set_text(text);
}

TEST(Check, ContainerThatCanMoveExitsZero) {
  FakeAnswers answers;
  add_finding(answers.check.add_facts(), "node2", "br0 is there");
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), {"check", "web", "--to", "node2"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.out, "  node2  bridge  br0 is there\nweb can move to node2\n");
}

TEST(Check, ProblemsExitOneAndAreInTheJson) {
  FakeAnswers answers;
  add_finding(answers.check.add_problems(), "node2", "no bridge br0");
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), {"check", "web", "--to", "node2", "--json"});
  EXPECT_EQ(ran.exit_code, 1);
  const json value = json::parse(ran.last_line());
  EXPECT_EQ(value["can_move"], false);
  EXPECT_EQ(value["problems"][0]["text"], "no bridge br0");
}

control::ListReply two_containers() {
  control::ListReply reply;
  control::Container* web = reply.add_containers();
  web->set_name("web");
  web->set_status("running");
  web->set_pid(42);
  web->set_bundle("/b/web");
  control::Container* db = reply.add_containers();
  db->set_name("db");
  db->set_status("stopped");
  db->set_migration_id("0123456789abcdef");
  db->set_migration_phase("dump");
  db->set_migration_peer("node2");
  return reply;
}

TEST(Ps, ListsContainersAndTheirMigrations) {
  FakeAnswers answers;
  answers.list = two_containers();
  FakeAgent agent(answers);
  EXPECT_EQ(run_godwit(agent.socket(), {"ps"}).out,
            "NAME  STATUS   PID  MIGRATION                          BUNDLE\n"
            "web   running  42   -                                  /b/web\n"
            "db    stopped  -    0123456789abcdef dump, with node2\n");
  EXPECT_EQ(run_godwit(agent.socket(), {"ps", "-q"}).out, "web\ndb\n");
  const json value = json::parse(run_godwit(agent.socket(), {"ps", "--json"}).last_line());
  EXPECT_EQ(value["containers"][1]["migration"]["peer"], "node2");
  EXPECT_TRUE(value["containers"][0]["migration"].is_null());
}

TEST(Status, OneMigrationIsShownInFull) {
  FakeAnswers answers;
  control::Migration* migration = answers.status.add_migrations();
  migration->set_id("0123456789abcdef");
  migration->set_outcome("rolled_back");
  migration->set_error("cut");
  FakeAgent agent(answers);
  EXPECT_NE(run_godwit(agent.socket(), {"status", "0123456789abcdef"}).out.find("error      cut"), std::string::npos);
  const Ran ran = run_godwit(agent.socket(), {"status", "--json"});
  EXPECT_EQ(json::parse(ran.last_line())["migrations"][0]["outcome"], "rolled_back");
}

TEST(Status, UnknownIdFails) {
  FakeAgent agent({});
  EXPECT_EQ(run_godwit(agent.socket(), {"status", "0123456789abcdef"}).exit_code, 1);
  EXPECT_EQ(run_godwit(agent.socket(), {"status"}).exit_code, 0);
}

TEST(Cancel, SaysWhatTheAgentSaid) {
  FakeAnswers answers;
  answers.cancel->set_text("cancelled");
  FakeAgent agent(answers);
  EXPECT_EQ(run_godwit(agent.socket(), {"cancel", "0123456789abcdef"}).out, "cancelled\n");
  EXPECT_EQ(run_godwit(agent.socket(), {"cancel", "no id"}).exit_code, 2);
}

TEST(Cancel, TooLateFails) {
  FakeAnswers answers;
  answers.cancel = fail("too late");
  FakeAgent agent(answers);
  const Ran ran = run_godwit(agent.socket(), {"cancel", "0123456789abcdef"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.err, "godwit: too late\n");
}

FakeAnswers one_frozen_migration() {
  FakeAnswers answers;
  control::Migration* migration = answers.status.add_migrations();
  migration->set_id("0123456789abcdef");
  migration->set_container("web");
  migration->set_role("source");
  migration->set_peer("node2");
  answers.resolve->set_text("done:");
  return answers;
}

TEST(Resolve, SaysWhatIsVouchedForBeforeItIsDone) {
  FakeAgent agent(one_frozen_migration());
  const Ran ran = run_godwit(agent.socket(), {"resolve", "0123456789abcdef", "--source"});
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("You vouch that node2 does not run it and never will"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("--yes"), std::string::npos) << ran.err;
}

TEST(Resolve, TheSideThatIsNamedIsToldToTheAgent) {
  FakeAgent agent(one_frozen_migration());
  EXPECT_EQ(run_godwit(agent.socket(), {"resolve", "0123456789abcdef", "--source", "--yes"}).out, "done: source\n");
  EXPECT_EQ(run_godwit(agent.socket(), {"resolve", "0123456789abcdef", "--target", "--yes"}).out, "done: target\n");
}

TEST(Resolve, OneSideMustBeNamed) {
  FakeAgent agent(one_frozen_migration());
  EXPECT_EQ(run_godwit(agent.socket(), {"resolve", "0123456789abcdef", "--yes"}).exit_code, 2);
  EXPECT_EQ(run_godwit(agent.socket(), {"resolve", "0123456789abcdef", "--source", "--target"}).exit_code, 2);
  EXPECT_EQ(run_godwit(agent.socket(), {"resolve", "no id", "--source"}).exit_code, 2);
}

TEST(Version, IsToldWithAndWithoutAnAgent) {
  FakeAnswers answers;
  answers.version.set_version("9.9");
  FakeAgent agent(answers);
  const json with = json::parse(run_godwit(agent.socket(), {"version", "--json"}).last_line());
  EXPECT_EQ(with["agent"]["version"], "9.9");
  const Ran without = run_godwit("/nowhere", {"version", "--json"});
  EXPECT_EQ(without.exit_code, 0);
  EXPECT_TRUE(json::parse(without.last_line())["agent"].is_null());
}

TEST(CommandLine, SocketMayStandAfterTheCommand) {
  FakeAgent agent({});
  EXPECT_EQ(run_godwit("/nowhere", {"ps", "--socket", agent.socket()}).exit_code, 0);
  EXPECT_EQ(run_godwit("/nowhere", {"ps"}).exit_code, 4);
}

TEST(CommandLine, ContainerMayBeNamedAsACommand) {
  FakeAnswers answers;
  answers.migrate = [](const control::MigrateRequest& request, FakeCall& call) -> Result<> {
    EXPECT_EQ(request.container(), "ps");
    call.send(report_with("migrated"));
    return {};
  };
  FakeAgent agent(answers);
  EXPECT_EQ(run_godwit(agent.socket(), {"migrate", "ps", "--to", "check"}).exit_code, 0);
}

TEST(AgentSocket, WhatToDoIsSaidForEachCause) {
  EXPECT_NE(probe_agent_socket("/nowhere").error().text().find("systemctl start"), std::string::npos);
  EXPECT_EQ(probe_agent_socket(std::string(200, 'x')).error().code(), ENAMETOOLONG);
  EXPECT_EQ(probe_agent_socket("").error().code(), EINVAL);
  EXPECT_EQ(probe_agent_socket("/dev/null").error().code(), ECONNREFUSED);
}

TEST(Pki, MakesAuthorityAndHost) {
  std::string dir = testing::TempDir() + "godwit-pki-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  const std::string out = dir + "/n1";
  EXPECT_EQ(run_godwit("/nowhere", {"pki", "ca", "--dir", dir}).exit_code, 0);
  EXPECT_EQ(run_godwit("/nowhere", {"pki", "ca", "--dir", dir}).exit_code, 1) << "exists";
  const Ran host =
      run_godwit("/nowhere", {"pki", "host", "n1", "--ip", "10.0.0.1", "fd00::1", "--ca", dir, "--out", out});
  EXPECT_EQ(host.exit_code, 0) << host.err;
  struct stat key{};
  ASSERT_EQ(::stat((out + "/host.key").c_str(), &key), 0);
  EXPECT_EQ(key.st_mode & 0777U, 0600U);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace godwit::cli
