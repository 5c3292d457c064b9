// The agent's hand on godwit-pager (migration/pager_service.h), the process that has an arriving container's memory:
// starts it, finds that of an earlier agent, and puts another in its place if it dies after the container has begun to
// run. memory_keeper has frozen the container by then.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "migration/pager_settings.h"
#include "pager.pb.h"
#include "peer.pb.h"

namespace godwit {

// Whether the pager of migration ID, which has ended, had put every page in its place. If so, nothing holds the
// container of CGROUP back any more.
Result<bool> had_all_memory(const std::filesystem::path& directory, const std::string& id,
                            const std::filesystem::path& cgroup);

class TargetPager {
 public:
  struct Arrival {
    std::filesystem::path directory;  // the migration's
    std::string id;
    std::string source;      // the name in its certificate
    uint64_t bytes_max = 0;  // of the store
  };
  struct Beginning {
    uint32_t streams = 1;
    std::filesystem::path socket;  // lazy-pages.socket in CRIU's work directory
    std::string token;
    std::function<void()> on_failure;  // pages will not come any more; from a thread of its own
  };
  struct Container {
    pid_t first_process = 0;
    std::filesystem::path cgroup;  // in the freezer hierarchy
  };

  static Result<std::unique_ptr<TargetPager>> create(const PagerSettings& settings, Arrival arrival,
                                                     const Beginning& beginning);
  // One that lives, of an earlier agent; the container runs. Error code ENOENT or ECONNREFUSED: there is none.
  static Result<std::unique_ptr<TargetPager>> find(const PagerSettings& settings, Arrival arrival,
                                                   const Container& container);
  // In the place of one that has died. The container, which was frozen, goes on. An error: what it lacks is not known
  // any more.
  static Result<std::unique_ptr<TargetPager>> take_over(const PagerSettings& settings, Arrival arrival,
                                                        const Container& container);
  // Ends the process, unless it was left.
  ~TargetPager();
  TargetPager(const TargetPager&) = delete;
  TargetPager& operator=(const TargetPager&) = delete;

  // The container runs, and this agent ends: the process goes on.
  void leave();

  // Of the connection for requests.
  uint32_t request_channel() const { return streams_ + 1; }
  // Hands over a data connection of which the preamble, for CHANNEL, has been read.
  Result<> take_connection(uint32_t channel, const ScopedFd& socket);

  // As TargetMemory's.
  Result<> await_map(std::chrono::milliseconds limit);
  Result<> await_pages(bool all, std::chrono::milliseconds limit);
  Result<> guard(const Container& container);
  void begin_fill();
  void describe(peer::OutcomeReply& reply);
  peer::PagesLeftReply progress(std::chrono::milliseconds limit);
  bool paused() { return progress(std::chrono::milliseconds(0)).paused(); }
  void cancel();

  // As of the last progress().
  uint64_t store_bytes_peak() const;
  // Until guard(): pages will not come any more, or the process has died.
  std::optional<Error> failure() const;
  // The process has died and none can take its place: why. The container is frozen, and lacks memory.
  std::optional<std::string> lost() const;

 private:
  TargetPager(PagerSettings settings, Arrival arrival) : settings_(std::move(settings)), arrival_(std::move(arrival)) {}
  Result<> start_process();
  Result<pager::Attached> attach();
  Result<> ask_to_take_over();
  Result<> hold(const Container& container);
  Result<ScopedFd> ask(const pager::Request& request, std::chrono::milliseconds limit, int fd = -1) const;
  Result<pager::Reply> call(const pager::Request& request, std::chrono::milliseconds limit, int fd = -1);
  Result<pager::Reply> await(const pager::Request& request, std::chrono::milliseconds limit);
  void end_process();
  void watch();
  bool outlive();
  bool replace(const Container& container);
  void fail_with(Error error);
  bool container_has_ended() const;

  const PagerSettings settings_;
  const Arrival arrival_;
  uint32_t streams_ = 1;
  std::string token_;
  std::function<void()> on_failure_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  ScopedFd agent_;  // its end is this agent's; watch() reads from it
  std::optional<Container> container_;
  ScopedFd pidfd_;  // of the container's first process
  std::optional<Error> failure_;
  std::optional<std::string> lost_;
  peer::PagesLeftReply left_;
  uint64_t store_bytes_peak_ = 0;
  bool leaving_ = false;
  bool ending_ = false;
  std::thread watch_;
};

}  // namespace godwit
