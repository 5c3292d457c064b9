#include "base/background_jobs.h"

#include <utility>

namespace godwit {

BackgroundJobs::~BackgroundJobs() {
  for (Running& job : running_) job.thread.request_stop();
}

void BackgroundJobs::start(Job job) {
  std::lock_guard lock(mutex_);
  std::erase_if(running_, [](const Running& entry) { return entry.over.load(); });
  Running& entry = running_.emplace_back();
  entry.thread = std::jthread([&over = entry.over, job = std::move(job)](std::stop_token stop) mutable {
    job(std::move(stop));
    over = true;
  });
}

}  // namespace godwit
