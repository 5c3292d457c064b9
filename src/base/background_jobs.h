// Work that goes on after what caused it is over, each job on a thread of its own. Nobody waits for it, but it does not
// outlive this.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <stop_token>
#include <thread>

namespace godwit {

class BackgroundJobs {
 public:
  // To return soon after it is asked to stop.
  using Job = std::move_only_function<void(std::stop_token)>;

  BackgroundJobs() = default;
  ~BackgroundJobs();  // asks all to stop, and waits for them
  BackgroundJobs(const BackgroundJobs&) = delete;
  BackgroundJobs& operator=(const BackgroundJobs&) = delete;

  void start(Job job);

 private:
  struct Running {
    std::atomic<bool> over = false;
    std::jthread thread;
  };
  std::mutex mutex_;
  std::list<Running> running_;
};

}  // namespace godwit
