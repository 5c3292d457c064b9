#include "control_loop.h"

#include <cstdio>
#include <iostream>

namespace godwit::workloads {
namespace {

constexpr std::chrono::milliseconds kReplyTimeout{30000};

double ms(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace

void ControlLoop::print(const nlohmann::json& object) {
  // Texts may quote a reply of any bytes.
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  std::cout << object.dump(-1, ' ', false, kReplace) << std::endl;
}

std::vector<std::string> ControlLoop::failures() const {
  std::vector<std::string> texts;
  for (const auto& prober : probers_)
    if (auto failure = prober->failure()) texts.push_back(*failure);
  for (const auto& source : failure_sources_)
    if (auto failure = source()) texts.push_back(*failure);
  return texts;
}

nlohmann::json ControlLoop::mark(const std::string& name) {
  Window all;
  // All at once: each may pause between its requests.
  std::vector<uint64_t> last;
  for (auto& prober : probers_) last.push_back(prober->next_request());
  for (size_t i = 0; i < probers_.size(); ++i) all.merge(probers_[i]->take_window(last[i], kReplyTimeout));
  Clock::time_point now = Clock::now();
  nlohmann::json result = all.summary();
  result["name"] = name;
  result["window_ms"] = ms(now - last_mark_);
  result["max_latency_began_ms"] = ms(all.longest_began.time_since_epoch());
  last_mark_ = now;
  std::vector<std::string> texts = failures();
  result["errors"] = texts.size();
  result["error_texts"] = texts;
  result["connections"] = probers_.size() + failure_sources_.size() - texts.size();
  return result;
}

int ControlLoop::run() {
  last_mark_ = Clock::now();
  std::string line;
  for (bool stop = false; !stop;) {
    if (!std::getline(std::cin, line)) line = "stop";
    size_t space = line.find(' ');
    std::string word = line.substr(0, space);
    std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
    stop = word == "stop";
    nlohmann::json reply;
    auto found = commands_.find(word);
    if (word == "mark") {
      reply = mark(argument);
      reply["ok"] = reply["errors"] == 0;
    } else if (found == commands_.end()) {
      reply = {{"ok", stop}};
      if (!stop) reply["error"] = "unknown command";
    } else if (auto result = found->second(argument)) {
      reply = std::move(*result);
      reply["ok"] = true;
    } else {
      reply = {{"ok", false}, {"error", result.error()}};
    }
    reply["event"] = word;
    command_failed_ |= !reply["ok"].get<bool>();
    print(reply);
  }
  return command_failed_ || !failures().empty() ? 1 : 0;
}

}  // namespace godwit::workloads
