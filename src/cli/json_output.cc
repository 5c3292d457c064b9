#include "cli/json_output.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/mode.h"

namespace godwit::cli {

namespace {

using json = nlohmann::ordered_json;

// Bytes that are no UTF-8 (from a log) are replaced: the output is valid JSON whatever came.
std::string one_line(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// Microseconds are the last digits that mean anything.
double rounded(double ms) { return std::round(ms * 1000) / 1000; }

json text_or_null(const std::string& text) { return text.empty() ? json() : json(text); }

// A phase that came more than once counts once, with the sum.
json phases_json(const control::Report& report) {
  json phases = json::object();
  for (const control::Phase& phase : report.phases()) {
    const double before = phases.value(phase.name(), 0.0);
    phases[phase.name()] = rounded(before + phase.ms());
  }
  return phases;
}

json rounds_json(const control::Report& report) {
  json rounds = json::array();
  for (const control::Round& round : report.rounds()) {
    rounds.push_back({{"pages", round.pages()},
                      {"bytes", round.bytes()},
                      {"ms", rounded(round.ms())},
                      {"pages_zero", round.pages_zero()},
                      {"dirty_pages_per_second", rounded(round.dirty_pages_per_second())},
                      {"estimated_downtime_ms", rounded(round.estimated_downtime_ms())}});
  }
  return rounds;
}

// Zeros where there was none.
json postcopy_json(const control::PostCopy& postcopy) {
  return {{"pages", postcopy.pages()},
          {"faults", postcopy.faults()},
          {"ms", rounded(postcopy.ms())},
          {"faults_remote", postcopy.faults_remote()},
          {"fault_p50_us", rounded(postcopy.fault_p50_us())},
          {"fault_p99_us", rounded(postcopy.fault_p99_us())},
          {"fault_max_us", rounded(postcopy.fault_max_us())}};
}

template <typename Texts>
json texts_json(const Texts& texts) {
  json list = json::array();
  for (const auto& text : texts) list.push_back(text);
  return list;
}

template <typename Findings>
json findings_json(const Findings& findings) {
  json list = json::array();
  for (const auto& finding : findings) {
    list.push_back({{"host", finding.host()}, {"subject", finding.subject()}, {"text", finding.text()}});
  }
  return list;
}

json container_json(const control::Container& container) {
  json migration;
  if (!container.migration_id().empty()) {
    migration = {
        {"id", container.migration_id()}, {"phase", container.migration_phase()}, {"peer", container.migration_peer()}};
  }
  return {{"name", container.name()},
          {"status", container.status()},
          {"pid", container.pid()},
          {"bundle", container.bundle()},
          {"migration", migration}};
}

json migration_json(const control::Migration& migration) {
  return {{"id", migration.id()},
          {"container", migration.container()},
          {"role", migration.role()},
          {"peer", migration.peer()},
          {"phase", migration.phase()},
          {"ongoing", migration.ongoing()},
          {"outcome", text_or_null(migration.outcome())},
          {"error", text_or_null(migration.error())},
          {"bytes_sent", migration.bytes_sent()},
          {"elapsed_ms", rounded(migration.elapsed_ms())},
          {"downtime_ms", rounded(migration.downtime_ms())}};
}

}  // namespace

std::string report_json(const control::Report& report) {
  json figures = json::object();
  for (const auto& [name, value] : report.figures()) figures[name] = value;
  return one_line({{"outcome", report.outcome()},
                   {"mode", mode_name(report.mode())},
                   {"downtime_ms", rounded(report.downtime_ms())},
                   {"total_ms", rounded(report.total_ms())},
                   {"bytes_sent", report.bytes_sent()},
                   {"pages_sent", report.pages_sent()},
                   {"pages_zero", report.pages_zero()},
                   {"rounds", rounds_json(report)},
                   {"postcopy", postcopy_json(report.postcopy())},
                   {"phases", phases_json(report)},
                   {"error", text_or_null(report.error())},
                   {"id", text_or_null(report.migration_id())},
                   {"container", report.container()},
                   {"source", text_or_null(report.source())},
                   {"target", report.target()},
                   {"state", text_or_null(report.state())},
                   {"notes", texts_json(report.notes())},
                   {"log", texts_json(report.log())},
                   {"tracking", text_or_null(report.tracking())},
                   {"throttle_percent_max", report.throttle_percent_max()},
                   {"figures", figures}});
}

std::string check_json(const control::CheckRequest& request, const control::CheckReply& reply) {
  return one_line({{"can_move", reply.problems().empty()},
                   {"container", request.container()},
                   {"target", request.target()},
                   {"problems", findings_json(reply.problems())},
                   {"facts", findings_json(reply.facts())},
                   {"error", nullptr}});
}

std::string list_json(const control::ListReply& reply) {
  json containers = json::array();
  for (const auto& container : reply.containers()) containers.push_back(container_json(container));
  return one_line({{"containers", containers}});
}

std::string status_json(const control::StatusReply& reply) {
  json migrations = json::array();
  for (const auto& migration : reply.migrations()) migrations.push_back(migration_json(migration));
  return one_line({{"migrations", migrations}});
}

std::string version_json(const Result<control::VersionReply>& agent) {
  json value = {{"version", GODWIT_VERSION}, {"agent", nullptr}, {"agent_error", nullptr}};
  if (!agent) {
    value["agent_error"] = agent.error().text();
    return one_line(value);
  }
  value["agent"] = {{"version", agent->version()},
                    {"node", agent->node()},
                    {"protocol_major", agent->protocol_major()},
                    {"protocol_minor", agent->protocol_minor()},
                    {"criu", text_or_null(agent->criu())},
                    {"runc", text_or_null(agent->runc())}};
  return one_line(value);
}

std::string error_json(const std::string& text) { return one_line({{"error", text}}); }

}  // namespace godwit::cli
