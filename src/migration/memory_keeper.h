// The helper program that keeps a container's missing pages from reading as zeros if this agent dies
// (runtime/helpers/memory_keeper.cc): what is said to it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class MemoryKeeper {
 public:
  static Result<std::unique_ptr<MemoryKeeper>> start(const std::filesystem::path& program);
  // The agent's end of it is over in good order.
  ~MemoryKeeper();

  // UFFD is borrowed; NUMBER is the caller's name for it.
  void hold(int number, int uffd);
  void drop(int number);
  // The container, whose first process is PID, runs from now on. FREEZER is its cgroup.
  Result<> guard(pid_t pid, const std::filesystem::path& freezer);

 private:
  explicit MemoryKeeper(ScopedFd socket) : socket_(std::move(socket)) {}
  void say(const std::string& text, int fd = -1);
  ScopedFd socket_;
};

}  // namespace godwit
