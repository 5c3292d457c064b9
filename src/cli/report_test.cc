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

// With two rounds and a post-copy.
control::Report hybrid() {
  control::Report report = migrated();
  for (uint64_t pages : {65536, 1200}) {
    control::Round* round = report.add_rounds();
    round->set_pages(pages);
    round->set_pages_zero(17);
    round->set_bytes(pages * 4096);
    round->set_ms(static_cast<double>(pages) / 100);
    round->set_dirty_pages_per_second(2560);
    round->set_estimated_downtime_ms(21.5);
  }
  control::PostCopy* postcopy = report.mutable_postcopy();
  postcopy->set_pages(600);
  postcopy->set_faults(34);
  postcopy->set_faults_remote(5);
  postcopy->set_ms(120);
  postcopy->set_fault_p50_us(85);
  postcopy->set_fault_p99_us(1200.0005);
  postcopy->set_fault_max_us(3400);
  report.set_tracking("uffd-wp");
  report.set_throttle_percent_max(40);
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

TEST(ReportJson, HasEveryRoundAndThePostCopy) {
  const json value = json::parse(report_json(hybrid()));
  ASSERT_EQ(value["rounds"].size(), 2U);
  EXPECT_EQ(value["rounds"][0], (json{{"pages", 65536},
                                      {"bytes", 65536 * 4096},
                                      {"ms", 655.36},
                                      {"pages_zero", 17},
                                      {"dirty_pages_per_second", 2560.0},
                                      {"estimated_downtime_ms", 21.5}}));
  EXPECT_EQ(value["postcopy"], (json{{"pages", 600},
                                     {"faults", 34},
                                     {"ms", 120.0},
                                     {"faults_remote", 5},
                                     {"fault_p50_us", 85.0},
                                     {"fault_p99_us", 1200.001},
                                     {"fault_max_us", 3400.0}}));
  EXPECT_EQ(value["tracking"], "uffd-wp");
  EXPECT_EQ(value["throttle_percent_max"], 40);
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
            "  now        runs on node2\n"
            "  downtime   43.1 ms\n"
            "  total      1.23 s\n"
            "  sent       256 MiB, 65536 pages\n"
            "  note       stdout is now /var/log/web.log\n"
            "  id         0123456789abcdef\n"
            "  phases     freeze  10.0 ms\n"
            "             freeze  2.50 ms\n");
}

TEST(ReportText, ShowsRoundsAndPostCopy) {
  const std::string text = report_text(hybrid());
  EXPECT_NE(
      text.find("  post-copy  600 pages in 120 ms; 34 faults, 5 of them for pages still on the source, p50 85 us, "
                "p99 1.20 ms, max 3.40 ms\n"
                "  tracking   uffd-wp\n"
                "  throttled  by up to 40% of its CPU time\n"),
      std::string::npos)
      << text;
  EXPECT_TRUE(
      text.ends_with("  round  time     pages  zero pages  sent      rate       written     downtime now\n"
                     "  1      655 ms   65536  17          256 MiB   391 MiB/s  10.0 MiB/s  21.5 ms\n"
                     "  2      12.0 ms  1200   17          4.69 MiB  391 MiB/s  10.0 MiB/s  21.5 ms\n"))
      << text;
}

TEST(ReportText, FailureNamesCauseStateAndLog) {
  const std::string text = report_text(rolled_back());
  EXPECT_TRUE(
      text.starts_with("web was not moved to node2: rolled back\n"
                       "  error      restore on node2 failed: criu exited with 1\n"
                       "  now        runs on node1, connections kept\n"))
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
