// The memory of a migrating container, on the target: the store that rounds fill, the pager that gives the restored
// processes their pages, and the connections that bring them. The order among the other steps is target_migration.cc's.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "memory/page_store.h"
#include "memory/pager.h"
#include "migration/memory_keeper.h"
#include "migration/page_receiving.h"
#include "peer.pb.h"

namespace godwit {

class TargetMemory {
 public:
  struct Settings {
    uint32_t streams = 1;
    uint64_t bytes_max = 0;            // of the store
    std::filesystem::path socket;      // lazy-pages.socket in CRIU's work directory
    std::filesystem::path keeper;      // the helper program
    std::function<void()> on_failure;  // pages will not come any more; from a thread of its own
  };
  static Result<std::unique_ptr<TargetMemory>> create(Settings settings);
  ~TargetMemory();  // cuts the links; what the container still misses is lost with it, so not before it is done

  bool accept(std::unique_ptr<DataConnection> connection) { return receiving_->accept(std::move(connection)); }

  // Pages are owed and nothing brings them any more.
  bool paused() const;
  // A new connection for requests: all that is owed is asked for on it. False: none is wanted.
  bool resume(std::unique_ptr<DataConnection> connection);

  // Before CRIU is told to restore: the map of the freeze is here.
  Result<> await_map(Deadline deadline);
  // What await_pages() will be asked for.
  // CRIU stands at post-restore. If ALL, waits until no page is owed any more; fails when no page has come for LIMIT.
  Result<> await_pages(bool all, std::chrono::milliseconds limit);
  // The tasks, of which PID is the first, are about to run in the cgroup FREEZER. If this agent dies from here on while
  // memory is missing, they are frozen.
  Result<> guard(pid_t pid, const std::filesystem::path& freezer) { return keeper_->guard(pid, freezer); }
  // The tasks run.
  void begin_fill();
  // Waits up to LIMIT for a change worth telling.
  peer::PagesLeftReply progress(std::chrono::milliseconds limit);

  uint64_t store_bytes_peak() const { return store_->bytes_peak(); }
  std::optional<Error> failure() const { return receiving_->failure(); }
  void cancel() { receiving_->cancel(); }

 private:
  TargetMemory() = default;

  std::unique_ptr<MemoryKeeper> keeper_;
  std::unique_ptr<PageStore> store_;
  std::unique_ptr<PageReceiving> receiving_;
  std::unique_ptr<Pager> pager_;
  Clock::time_point resumed_at_{};
};

}  // namespace godwit
