// The helper program that keeps a container's missing pages from reading as zeros if this process, its pager, dies
// (runtime/helpers/memory_keeper.cc): what is said to it, and how the next pager gets back what it holds.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class MemoryKeeper {
 public:
  static Result<std::unique_ptr<MemoryKeeper>> start(const std::filesystem::path& program);

  // What a pager that was killed has left with it.
  struct Kept {
    ScopedFd log;
    std::map<int, ScopedFd> uffds;  // by number
  };
  // The keeper of migration ID, which be_found_at() SOCKET. The container is frozen by now.
  static Result<std::unique_ptr<MemoryKeeper>> find(const std::filesystem::path& socket, const std::string& id,
                                                    Kept& kept);
  // Without done(), the keeper freezes the container, if it is guarded, and waits for the next pager.
  ~MemoryKeeper() = default;

  // SOCKET must not exist, in a directory of root's.
  Result<> be_found_at(const std::filesystem::path& socket, const std::string& id);
  // FD is borrowed: PagerLog's.
  void hold_log(int fd);
  // UFFD is borrowed; NUMBER is the caller's name for it.
  void hold(int number, int uffd);
  void drop(int number);
  // The container, whose first process is PID, runs from now on. FREEZER is its cgroup.
  Result<> guard(pid_t pid, const std::filesystem::path& freezer);
  // Nothing is missing any more: the keeper ends.
  void done();

 private:
  explicit MemoryKeeper(ScopedFd socket) : socket_(std::move(socket)) {}
  void say(const std::string& text, int fd = -1);
  ScopedFd socket_;
};

}  // namespace godwit
