#include "base/subprocess.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace godwit {
namespace {

using namespace std::chrono_literals;

TEST(Subprocess, OutputAndStatusAreCaptured) {
  auto output = run_command({.argv = {"/bin/sh", "-c", "echo out; echo err >&2; exit 7"}}, 10s);
  ASSERT_TRUE(output) << output.error().text();
  EXPECT_EQ(output->status, 7);
  EXPECT_EQ(output->out, "out\n");
  EXPECT_EQ(output->errors, "err\n");
}

TEST(Subprocess, ANonZeroExitIsAnErrorThatQuotesStandardError) {
  auto out = run_checked({.argv = {"/bin/sh", "-c", "echo the reason >&2; exit 1"}}, 10s);
  ASSERT_FALSE(out);
  EXPECT_NE(out.error().text().find("the reason"), std::string::npos);
}

TEST(Subprocess, AProgramThatDoesNotEndIsKilledAtTheLimit) {
  Stopwatch watch;
  auto output = run_command({.argv = {"/bin/sleep", "1000"}}, 50ms);
  ASSERT_FALSE(output);
  EXPECT_LT(watch.ms(), 100'000);
}

TEST(Subprocess, ADaemonThatKeepsThePipeOpenIsNotWaitedFor) {
  auto output = run_command({.argv = {"/bin/sh", "-c", "sleep 1000 & echo $!"}}, 10s);
  ASSERT_TRUE(output) << output.error().text();
  ::kill(std::stoi(output->out), SIGKILL);
}

TEST(Subprocess, AMissingProgramIsAnError) { EXPECT_FALSE(run_command({.argv = {"/no/such/program"}}, 1s)); }

TEST(Subprocess, AChildKilledBySignalReports128PlusSignal) {
  auto output = run_command({.argv = {"/bin/sh", "-c", "kill -TERM $$"}}, 10s);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->status, 128 + 15);
}

}  // namespace
}  // namespace godwit
