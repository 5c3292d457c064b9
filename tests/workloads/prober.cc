#include "prober.h"

#include <algorithm>
#include <limits>

namespace godwit::workloads {

void Window::add(Clock::time_point began, Clock::time_point ended) {
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(ended - began).count();
  auto wait = static_cast<uint32_t>(std::min<int64_t>(us, std::numeric_limits<uint32_t>::max()));
  waits_us.push_back(wait);
  if (wait >= longest_us) {
    longest_us = wait;
    longest_began = began;
  }
}

void Window::merge(Window&& other) {
  waits_us.insert(waits_us.end(), other.waits_us.begin(), other.waits_us.end());
  if (other.longest_us >= longest_us) {
    longest_us = other.longest_us;
    longest_began = other.longest_began;
  }
}

nlohmann::json Window::summary() {
  auto quantile_ms = [this](double q) {
    if (waits_us.empty()) return 0.0;
    auto nth = waits_us.begin() + static_cast<ptrdiff_t>(q * double(waits_us.size() - 1));
    std::nth_element(waits_us.begin(), nth, waits_us.end());
    return *nth / 1000.0;
  };
  return {{"requests", waits_us.size()},
          {"max_latency_ms", longest_us / 1000.0},
          {"p50_ms", quantile_ms(0.50)},
          {"p99_ms", quantile_ms(0.99)}};
}

Prober::Prober(std::string name, Step step, std::chrono::microseconds pace)
    : name_(std::move(name)), step_(std::move(step)), pace_(pace) {}

Prober::~Prober() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void Prober::start(std::chrono::microseconds phase) {
  turn_ = Clock::now() + phase;
  thread_ = std::thread([this] { loop(); });
}

void Prober::stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

std::optional<std::string> Prober::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

Status Prober::run(Step job) {
  std::unique_lock lock(mutex_);
  if (failure_) return std::unexpected(*failure_);
  job_result_.reset();
  job_ = std::move(job);
  changed_.notify_all();
  changed_.wait(lock, [this] { return job_result_ || finished_; });
  if (!job_result_) return std::unexpected(failure_.value_or(name_ + ": stopped"));
  return *std::exchange(job_result_, std::nullopt);
}

uint64_t Prober::next_request() const {
  std::lock_guard lock(mutex_);
  return begun_ + 1;
}

Window Prober::take_window(uint64_t last, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  bool closed = changed_.wait_for(lock, timeout, [&] { return ended_ >= last || finished_; });
  if (!closed) {
    window_.add(current_began_, Clock::now());
    failure_ = name_ + ": no reply within " + std::to_string(timeout.count()) + " ms";
  }
  return std::exchange(window_, Window{});
}

bool Prober::await_turn() {
  std::unique_lock lock(mutex_);
  while (changed_.wait_until(lock, turn_, [this] { return job_ || stopping_ || failure_; })) {
    if (job_) serve_job(lock);
    if (stopping_ || failure_) return false;
  }
  ++begun_;
  current_began_ = Clock::now();
  return true;
}

void Prober::serve_job(std::unique_lock<std::mutex>& lock) {
  Step job = std::exchange(job_, nullptr);
  lock.unlock();
  Status result = job();
  lock.lock();
  if (!result) failure_ = name_ + ": " + result.error();
  job_result_ = std::move(result);
  changed_.notify_all();
}

void Prober::loop() {
  while (await_turn()) {
    Clock::time_point began = current_began_;  // written by this thread only
    Status status = step_();
    Clock::time_point ended = Clock::now();
    std::lock_guard lock(mutex_);
    window_.add(began, ended);
    if (!status) failure_ = name_ + ": " + status.error();
    ++ended_;
    changed_.notify_all();
    if (pace_.count() > 0) turn_ += pace_ * ((ended - turn_) / pace_ + 1);
  }
  std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

}  // namespace godwit::workloads
