// A report as JSON, as text and as an exit status.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/mode.h"
#include "cli/report_text.h"

namespace godwit::cli {
namespace {

using nlohmann::json;

control::Report migrated() {
  control::Report report;
  report.set_migration_id("0123456789abcdef");
  report.set_container("web");
  report.set_source("node1");
  report.set_target("node2");
  report.set_outcome("migrated");
  report.set_mode(control::HYBRID);
  report.set_downtime_ms(43.06125);
  report.set_total_ms(1234);
  report.set_bytes_sent(uint64_t{256} << 20);
  report.set_pages_sent(65536);
  for (double ms : {10.0, 2.5}) {
    control::Phase* phase = report.add_phases();
    phase->set_name("freeze");
    phase->set_ms(ms);
  }
  report.add_notes("stdout is now /var/log/web.log");
  (*report.mutable_figures())["disk_bytes"] = 0;
  return report;
}

control::Report rolled_back() {
  control::Report report = migrated();
  report.set_outcome("rolled_back");
  report.set_error("restore on node2 failed: criu exited with 1");
  report.set_state("runs on node1, connections kept");
  report.add_log("(00.012) Error (criu/x.c:7): no\x1b[31m");
  return report;
}

TEST(ReportJson, HasTheContractsKeys) {
  const json value = json::parse(report_json(migrated()));
  EXPECT_EQ(value["outcome"], "migrated");
  EXPECT_EQ(value["mode"], "hybrid");
  EXPECT_DOUBLE_EQ(value["downtime_ms"].get<double>(), 43.061);
  EXPECT_DOUBLE_EQ(value["total_ms"].get<double>(), 1234);
  EXPECT_EQ(value["bytes_sent"], uint64_t{256} << 20);
  EXPECT_EQ(value["pages_sent"], 65536);
  EXPECT_EQ(value["pages_zero"], 0);
  EXPECT_TRUE(value["rounds"].is_array());
  for (const char* key : {"pages", "faults", "ms"}) EXPECT_EQ(value["postcopy"][key], 0);
  EXPECT_DOUBLE_EQ(value["phases"]["freeze"].get<double>(), 12.5);
  EXPECT_TRUE(value["error"].is_null());
  EXPECT_EQ(value["figures"]["disk_bytes"], 0);
}

TEST(ReportJson, IsOneLineOfValidJsonWhateverTheLogHolds) {
  control::Report report = rolled_back();
  report.add_log("bytes \xff\xfe and a line\nend");
  const std::string text = report_json(report);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(json::parse(text)["log"].size(), 2U);
  EXPECT_EQ(json::parse(text)["error"], "restore on node2 failed: criu exited with 1");
}

TEST(ReportText, SaysWhatBecameOfTheContainer) {
  const std::string text = report_text(migrated());
  EXPECT_EQ(text,
            "web moved to node2 (hybrid)\n"
            "  now       runs on node2\n"
            "  downtime  43.1 ms\n"
            "  total     1.23 s\n"
            "  sent      256 MiB, 65536 pages\n"
            "  note      stdout is now /var/log/web.log\n"
            "  id        0123456789abcdef\n"
            "  phases    freeze  10.0 ms\n"
            "            freeze  2.50 ms\n");
}

TEST(ReportText, FailureNamesCauseStateAndLog) {
  const std::string text = report_text(rolled_back());
  EXPECT_TRUE(
      text.starts_with("web was not moved to node2: rolled back\n"
                       "  error     restore on node2 failed: criu exited with 1\n"
                       "  now       runs on node1, connections kept\n"))
      << text;
  EXPECT_TRUE(text.ends_with("  CRIU's log:\n    (00.012) Error (criu/x.c:7): no?[31m\n")) << text;
}

TEST(ExitCode, FollowsTheOutcome) {
  control::Report report;
  report.set_outcome("migrated");
  EXPECT_EQ(exit_code_of(report), 0);
  report.set_outcome("rolled_back");
  EXPECT_EQ(exit_code_of(report), 3);
  report.set_outcome("failed");
  EXPECT_EQ(exit_code_of(report), 1);
  report.set_outcome("an outcome of a later version");
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST(Mode, NamesGoBothWays) {
  for (const std::string& name : mode_names()) {
    ASSERT_TRUE(mode_named(name)) << name;
    EXPECT_EQ(mode_name(*mode_named(name)), name);
  }
  EXPECT_FALSE(mode_named("warp"));
}

}  // namespace
}  // namespace godwit::cli
