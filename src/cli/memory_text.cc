#include "cli/memory_text.h"

#include <spdlog/fmt/fmt.h>

#include "base/page.h"
#include "cli/format.h"

namespace godwit::cli {

namespace {

double bytes_per_second(const control::Round& round) {
  return round.ms() > 0 ? static_cast<double>(round.bytes()) * 1000 / round.ms() : 0;
}

std::string written_text(const control::Round& round) {
  return format_rate(round.dirty_pages_per_second() * static_cast<double>(kPageBytes));
}

}  // namespace

std::vector<std::string> round_fields(const control::Round& round) {
  std::vector<std::string> fields = {format_ms(round.ms()), fmt::format("{} pages", round.pages()),
                                     format_bytes(static_cast<double>(round.bytes())),
                                     format_rate(bytes_per_second(round))};
  if (round.dirty_pages_per_second() > 0) fields.push_back("written " + written_text(round));
  if (round.estimated_downtime_ms() > 0) fields.push_back("downtime now " + format_ms(round.estimated_downtime_ms()));
  return fields;
}

std::vector<std::vector<std::string>> round_rows(const control::Report& report) {
  if (report.rounds().empty()) return {};
  std::vector<std::vector<std::string>> rows = {
      {"round", "time", "pages", "zero pages", "sent", "rate", "written", "downtime now"}};
  for (const control::Round& round : report.rounds()) {
    rows.push_back({std::to_string(rows.size()), format_ms(round.ms()), std::to_string(round.pages()),
                    std::to_string(round.pages_zero()), format_bytes(static_cast<double>(round.bytes())),
                    format_rate(bytes_per_second(round)), written_text(round),
                    format_ms(round.estimated_downtime_ms())});
  }
  return rows;
}

std::string postcopy_text(const control::PostCopy& postcopy) {
  std::string text =
      fmt::format("{} pages in {}; {} faults", postcopy.pages(), format_ms(postcopy.ms()), postcopy.faults());
  if (postcopy.faults() == 0) return text;
  if (postcopy.faults_remote() > 0)
    text += fmt::format(", {} of them for pages still on the source", postcopy.faults_remote());
  return text + fmt::format(", p50 {}, p99 {}, max {}", format_us(postcopy.fault_p50_us()),
                            format_us(postcopy.fault_p99_us()), format_us(postcopy.fault_max_us()));
}

}  // namespace godwit::cli
