#include "cli/report_text.h"

#include <spdlog/fmt/fmt.h>

#include <vector>

#include "cli/format.h"
#include "cli/memory_text.h"
#include "cli/mode.h"

namespace godwit::cli {

namespace {

using Rows = std::vector<std::vector<std::string>>;

constexpr size_t kLabelColumns = 9;  // of the longest label, "post-copy"

std::string node_or(const std::string& node, const char* otherwise) {
  return node.empty() ? otherwise : printable(node);
}

std::string headline(const control::Report& report) {
  const std::string name = printable(report.container());
  const std::string target = node_or(report.target(), "the target");
  if (report.outcome() == "migrated") return fmt::format("{} moved to {} ({})", name, target, mode_name(report.mode()));
  if (report.outcome() == "rolled_back") return fmt::format("{} was not moved to {}: rolled back", name, target);
  return fmt::format("{} was not moved to {}: failed", name, target);
}

std::string sent_text(const control::Report& report) {
  std::string text = format_bytes(static_cast<double>(report.bytes_sent()));
  if (report.pages_sent() > 0) text += fmt::format(", {} pages", report.pages_sent());
  if (report.pages_zero() > 0) text += fmt::format(", {} zero pages left out", report.pages_zero());
  return text;
}

void add_phases(Rows& rows, const control::Report& report) {
  const char* label = "phases";
  for (const control::Phase& phase : report.phases()) {
    rows.push_back({label, printable(phase.name()), format_ms(phase.ms())});
    label = "";
  }
}

// The tables are apart because a long text in one must not widen the columns of the others.
std::string indented(const std::string& table) {
  std::string text;
  for (size_t at = 0; at < table.size();) {
    const size_t end = table.find('\n', at);
    text += "  " + table.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return text;
}

std::string log_text(const control::Report& report) {
  if (report.log().empty()) return "";
  std::string text = "  CRIU's log:\n";
  for (const std::string& line : report.log()) text += "    " + printable(line) + "\n";
  return text;
}

}  // namespace

std::string state_text(const control::Report& report) {
  if (!report.state().empty()) return printable(report.state());
  if (report.outcome() == "migrated") return "runs on " + node_or(report.target(), "the target");
  if (report.outcome() == "rolled_back") return "runs on " + node_or(report.source(), "the source");
  return "unknown; 'godwit ps' on both hosts shows it";
}

std::string report_text(const control::Report& report) {
  Rows facts;
  if (!report.error().empty()) facts.push_back({"error", printable(report.error())});
  facts.push_back({"now", state_text(report)});
  if (report.downtime_ms() > 0) facts.push_back({"downtime", format_ms(report.downtime_ms())});
  if (report.total_ms() > 0) facts.push_back({"total", format_ms(report.total_ms())});
  if (report.bytes_sent() > 0) facts.push_back({"sent", sent_text(report)});
  if (report.postcopy().pages() > 0) facts.push_back({"post-copy", postcopy_text(report.postcopy())});
  if (!report.tracking().empty()) facts.push_back({"tracking", printable(report.tracking())});
  if (report.throttle_percent_max() > 0)
    facts.push_back({"throttled", fmt::format("by up to {}% of its CPU time", report.throttle_percent_max())});
  for (const std::string& note : report.notes()) facts.push_back({"note", printable(note)});
  if (!report.migration_id().empty()) facts.push_back({"id", printable(report.migration_id())});
  Rows phases;
  add_phases(phases, report);
  for (Rows* rows : {&facts, &phases}) {
    for (auto& row : *rows) row[0] = padded(row[0], kLabelColumns);
  }
  return headline(report) + "\n" + indented(format_table(facts)) + indented(format_table(phases)) +
         indented(format_table(round_rows(report))) + log_text(report);
}

}  // namespace godwit::cli
