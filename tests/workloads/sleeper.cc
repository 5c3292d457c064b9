// Threads that sleep for hours, each by a system call of its own, and in a way that shows if one of them returns early:
// it goes to another call, pause(2), for good.
//
//   sleeper [--mine]     --mine: the first thread sleeps as well, and its return ends the program, as sleep(1) does
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr timespec kHours{36000, 0};

int futex_word = 0;

timespec hours_from_now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  time.tv_sec += kHours.tv_sec;
  return time;
}

void sleep_what_is_left() {
  timespec time = kHours;
  syscall(SYS_nanosleep, &time, &time);
}
void sleep_by_a_clock() {
  timespec time = kHours;
  syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, &time);
}
void sleep_without_asking() { syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &kHours, nullptr); }
void sleep_up_to_a_time() {
  const timespec until = hours_from_now(CLOCK_MONOTONIC);
  syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}
void poll_for_ever() { syscall(SYS_poll, nullptr, 0, -1); }
void wait_for_a_futex() {
  const timespec until = hours_from_now(CLOCK_MONOTONIC);
  syscall(SYS_futex, &futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::thread> threads;
  for (const auto& sleep :
       std::vector<std::function<void()>>{sleep_what_is_left, sleep_by_a_clock, sleep_without_asking,
                                          sleep_up_to_a_time, poll_for_ever, wait_for_a_futex})
    threads.emplace_back([sleep] {
      sleep();
      for (;;) pause();
    });
  if (count > 1 && std::strcmp(arguments[1], "--mine") == 0) {
    sleep_by_a_clock();
    _exit(0);
  }
  for (std::thread& thread : threads) thread.join();
}
