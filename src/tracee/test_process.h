// For tests: a real child process that runs a piece of code, and what /proc says about it.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "kernel/proc.h"

namespace godwit {

// Words that a test and its children share.
class Board {
 public:
  static constexpr size_t kWords = 4096;
  Board() {
    void* memory = ::mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    words_ = new (memory) Words;
  }
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;
  ~Board() { ::munmap(words_, sizeof(Words)); }
  std::atomic<uint64_t>& operator[](size_t index) const { return (*words_)[index]; }

 private:
  using Words = std::array<std::atomic<uint64_t>, kWords>;
  Words* words_;
};

// Waits until CONDITION holds; false if it does not within 20 s.
inline bool await(const std::function<bool()>& condition) {
  const Deadline deadline = Clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

class TestProcess {
 public:
  // Runs BODY in a child, which ends after it, and is killed with this object.
  explicit TestProcess(const std::function<void()>& body) {
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(0);
  }
  TestProcess(const TestProcess&) = delete;
  TestProcess& operator=(const TestProcess&) = delete;
  ~TestProcess() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    (void)wait();
  }
  pid_t pid() const { return pid_; }
  int wait() {  // its status
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
    pid_ = 0;
    return status;
  }
  // Waits until THREAD (0: the main one) is in system call NUMBER.
  bool await_call(long number, pid_t thread = 0) const {
    const std::string path = "/proc/" + std::to_string(thread == 0 ? pid_ : thread) + "/syscall";
    const std::string begin = std::to_string(number) + " ";
    return await([&] {
      auto text = read_file(path);
      return text && text->starts_with(begin);
    });
  }
  char state() const {
    auto status = proc::status(pid_);
    return status ? status->state : '?';
  }

 private:
  pid_t pid_ = 0;
};

inline size_t count_fds(pid_t pid) {
  auto files = proc::open_files(pid);
  return files ? files->size() : 0;
}

// The rest of the line of /proc/PID/status that begins with KEY.
inline std::string status_line(pid_t pid, const std::string& key) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/status");
  if (!text) return {};
  const size_t at = text->find("\n" + key + ":");
  if (at == std::string::npos) return {};
  const size_t from = at + key.size() + 2;
  return trimmed(text->substr(from, text->find('\n', from) - from));
}

}  // namespace godwit
