// One connection of a client that measures: a thread that has exactly one request in flight, times
// each, and stops for good at the first wrong reply or broken connection. It never reconnects: a
// broken connection is what a migration promises not to cause.
//
// The longest wait of a window is the client gap. A prober that paces itself has a turn every `pace` and lets those
// pass that come while a request is in flight; the gap it sees is short by at most that.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace godwit::workloads {

using Clock = std::chrono::steady_clock;
using Status = std::expected<void, std::string>;

// What happened between two marks.
struct Window {
  std::vector<uint32_t> waits_us;  // one per finished request
  Clock::time_point longest_began{};
  uint32_t longest_us = 0;

  void add(Clock::time_point began, Clock::time_point ended);
  void merge(Window&& other);
  // max_latency_ms, p50_ms, p99_ms, requests.
  nlohmann::json summary();
};

class Prober {
 public:
  using Step = std::function<Status()>;  // one request, its reply checked

  Prober(std::string name, Step step, std::chrono::microseconds pace);
  ~Prober();  // joins: the step must return, so shut its socket down first
  Prober(const Prober&) = delete;

  // The first turn is `phase` from now: probers of one pace that shall not ask in bursts have different ones.
  void start(std::chrono::microseconds phase = {});

  // Runs `job` on this prober's thread, between two requests and outside the window; returns its
  // result.
  Status run(Step job);

  // The number of the request that begins next.
  uint64_t next_request() const;

  // The window since the last call, closed when request LAST has ended (if it began after the caller decided to close
  // the window, the connection is proven alive) or the prober has failed. On a time-out the request in flight counts
  // with its age, and the prober as failed.
  Window take_window(uint64_t last, std::chrono::milliseconds timeout);

  void stop();  // after the request in flight
  std::optional<std::string> failure() const;
  const std::string& name() const { return name_; }

 private:
  void loop();
  bool await_turn();  // serves jobs meanwhile; false: stop
  void serve_job(std::unique_lock<std::mutex>& lock);

  const std::string name_;
  const Step step_;
  const std::chrono::microseconds pace_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Window window_;
  uint64_t begun_ = 0;
  uint64_t ended_ = 0;
  Clock::time_point current_began_{};
  Clock::time_point turn_{};
  Step job_;
  std::optional<Status> job_result_;
  std::optional<std::string> failure_;
  bool stopping_ = false;
  bool finished_ = false;
  std::thread thread_;
};

}  // namespace godwit::workloads
