// Serves lines over TCP: what the workloads answer "verify" and "stats" with. A line in, a line out, one thread for
// each connection.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "listen.h"

namespace godwit::workloads {

// From a line to the line that answers it, both without their ends. Called from any thread.
using AnswerLine = std::function<std::string(const std::string&)>;

inline void answer_lines(int fd, const AnswerLine& answer) {
  std::string pending;
  char buffer[256];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) {
    pending.append(buffer, static_cast<size_t>(n));
    for (size_t end; (end = pending.find('\n')) != std::string::npos;) {
      const std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      if (!write_all(fd, answer(line) + "\n")) break;
    }
  }
  close(fd);
}

// Never returns.
[[noreturn]] inline void serve_lines(int listener, const AnswerLine& answer) {
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) std::thread(answer_lines, fd, std::cref(answer)).detach();
  }
}

}  // namespace godwit::workloads
