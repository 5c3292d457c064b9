#include "base/background_jobs.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <latch>

namespace godwit {
namespace {

TEST(BackgroundJobs, RunBesideEachOther) {
  std::latch all_run(3);
  BackgroundJobs jobs;
  for (int i = 0; i < 3; ++i) jobs.start([&all_run](const std::stop_token&) { all_run.arrive_and_wait(); });
  all_run.wait();
}

TEST(BackgroundJobs, AreAskedToStopAndWaitedFor) {
  bool stopped = false;
  {
    std::latch runs(1);
    BackgroundJobs jobs;
    jobs.start([&](const std::stop_token& stop) {
      std::mutex mutex;
      std::unique_lock lock(mutex);
      runs.count_down();
      std::condition_variable_any().wait(lock, stop, [] { return false; });
      stopped = true;
    });
    runs.wait();
  }
  EXPECT_TRUE(stopped);
}

TEST(BackgroundJobs, TakeWhatCannotBeCopied) {
  auto value = std::make_unique<int>(7);
  std::atomic<int> seen = 0;
  {
    BackgroundJobs jobs;
    jobs.start([value = std::move(value), &seen](const std::stop_token&) { seen = *value; });
  }
  EXPECT_EQ(seen, 7);
}

}  // namespace
}  // namespace godwit
