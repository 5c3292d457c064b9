// The control side of a measuring client: commands on standard input, one JSON object per line on
// standard output. Common to all: `mark NAME` closes the window since the last mark and prints it;
// `stop` does the final checks and ends. End of input counts as `stop`.
//
// mark prints: event "mark", name, window_ms, requests, max_latency_ms (the client gap),
// max_latency_began_ms (CLOCK_MONOTONIC), p50_ms, p99_ms, errors, error_texts, connections (alive).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "prober.h"

namespace godwit::workloads {

class ControlLoop {
 public:
  // Gets the words after the command; returns what to print ("event" and "ok" are added).
  using Command = std::function<std::expected<nlohmann::json, std::string>(const std::string& argument)>;

  explicit ControlLoop(std::vector<std::unique_ptr<Prober>>& probers) : probers_(probers) {}

  void add_command(const std::string& name, Command command) { commands_[name] = std::move(command); }
  // Failures noticed outside the probers; `mark` lists them with theirs.
  void add_failure_source(std::function<std::optional<std::string>()> source) {
    failure_sources_.push_back(std::move(source));
  }

  // Until `stop`. Returns the exit status: 0 only if nothing went wrong at any time.
  int run();

  static void print(const nlohmann::json& object);

 private:
  nlohmann::json mark(const std::string& name);
  std::vector<std::string> failures() const;

  std::vector<std::unique_ptr<Prober>>& probers_;
  std::map<std::string, Command> commands_;
  std::vector<std::function<std::optional<std::string>()>> failure_sources_;
  Clock::time_point last_mark_ = Clock::now();
  bool command_failed_ = false;
};

}  // namespace godwit::workloads
