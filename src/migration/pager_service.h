// godwit-pager: the memory of one arriving container (migration/target_memory.h) in a process of its own, which lives
// on when the agent ends. What the agent asks for comes over pager.sock in the migration's directory (api/pager.proto);
// memory connections are handed to it there, and from then on are between the source and this process.
//
//   no agent yet ── Attach ── Create, or TakeOver ── connections, rounds ── Guard ── tasks run ── last page ── End
//
// Until Guard it ends with its agent: the container has not run here. From then on it goes on without one, and keeps
// its figures for the next. If it dies with memory missing, memory_keeper freezes the container.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "base/unix_socket.h"
#include "migration/target_memory.h"
#include "pager.pb.h"
#include "transport/data_handshakes.h"

namespace godwit {

class PagerService {
 public:
  // LISTENER: at pager.sock.
  static Result<std::unique_ptr<PagerService>> create(ScopedFd listener);
  PagerService(const PagerService&) = delete;
  PagerService& operator=(const PagerService&) = delete;

  // Returns when the process is to end; requests may still be under way on other threads, so nothing of this may be
  // destroyed then.
  void run();

 private:
  PagerService(ScopedFd listener, std::filesystem::path socket, ScopedFd wake)
      : listener_(std::move(listener)), socket_(std::move(socket)), wake_(std::move(wake)) {}

  void accept_request();
  void serve(ScopedFd connection);
  Result<pager::Reply> answer(const pager::Request& request, std::vector<ScopedFd>& fds);

  void attach(const pager::Attach& request, ScopedFd connection);
  Result<pager::Attached> begin_attached(const pager::Attach& request, int connection);
  void end_attached(int connection);
  Result<> create_memory(const pager::Create& request);
  Result<> take_over(const pager::TakeOver& request);
  Result<> take_connection(uint32_t channel, std::vector<ScopedFd>& fds);
  Result<> guard(const pager::Guard& request);
  void begin_fill();
  void watch_last_page();
  void end();

  std::expected<DataHandler, wire::Refusal> claim(const wire::Hello& hello, const std::vector<std::string>& names);
  void accept(std::unique_ptr<DataConnection> connection);
  void tell_failure();
  bool is_of_no_use();
  std::shared_ptr<TargetMemory> memory() const;

  struct Guarded {
    pid_t pid = 0;
    ScopedFd pidfd;
    std::filesystem::path cgroup;
  };

  const ScopedFd listener_;
  const std::filesystem::path socket_;  // where it listens
  const ScopedFd wake_;                 // eventfd: something has changed that run() looks at
  std::atomic<int> requests_ = 0;

  mutable std::mutex mutex_;  // guards what follows; not held in calls of the memory's
  std::shared_ptr<TargetMemory> memory_;
  std::shared_ptr<DataHandshakes> handshakes_;  // the attached agent's
  std::string id_;
  std::string source_;
  std::optional<Guarded> guarded_;
  int agent_ = -1;  // the connection of the agent that is attached; its thread owns it
  bool agent_came_ = false;
  bool filling_ = false;
  bool complete_ = false;
  bool ending_ = false;
};

}  // namespace godwit
