#include "runtime/criu_log.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(CriuLog, ErrorsAreKeptOnceAndInOrder) {
  const auto lines = relevant_log_lines(
      "(00.001) Dumping processes\n"
      "(00.002) Error (criu/rlimit.c:37): rlimit: Can't setup RLIMIT_NOFILE for self\n"
      "(00.003) Error (criu/sk-inet.c:1): the cause\n"
      "(00.003) Error (criu/sk-inet.c:1): the cause\n"
      "(00.004) Warn  (criu/x.c:1): a warning\n"
      "(00.005) Error (criu/cr-dump.c:2): Dumping FAILED.\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("the cause"), std::string::npos);
  EXPECT_NE(lines[1].find("FAILED"), std::string::npos);
}

TEST(CriuLog, WhatAContainerCanPutIntoALineIsCutAndCleared) {
  const auto lines = relevant_log_lines("Error (a.c:1): \x1b[31m" + std::string(1000, 'x'));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].find('\x1b'), std::string::npos);
  EXPECT_LT(lines[0].size(), 320u);
}

TEST(CriuLog, TheReasonIsNotAnErrorWithoutConsequence) {
  EXPECT_EQ(criu_reason("Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: not permitted\n"), "");
  EXPECT_EQ(criu_reason("Error (criu/sk-inet.c:1): the cause\n"), "Error (criu/sk-inet.c:1): the cause");
  EXPECT_EQ(criu_reason("something else\n"), "something else");
}

TEST(CriuLog, NotMoreLinesThanAskedFor) {
  std::string log;
  for (int i = 0; i < 100; ++i) log += "Error (a.c:" + std::to_string(i) + "): x\n";
  EXPECT_EQ(relevant_log_lines(log, 4).size(), 4u);
}

}  // namespace
}  // namespace godwit
