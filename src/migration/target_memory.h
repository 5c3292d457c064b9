// The memory of a migrating container, on the target: the store that rounds fill, the pager that gives the restored
// processes their pages, and the connections that bring them. It is in godwit-pager (pager_service.h); the order among
// the other steps is target_migration.cc's.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "memory/page_store.h"
#include "memory/pager.h"
#include "migration/memory_keeper.h"
#include "migration/page_receiving.h"
#include "peer.pb.h"

namespace godwit {

// Where an agent finds godwit-pager, in the migration's directory.
inline std::filesystem::path pager_socket(const std::filesystem::path& directory) { return directory / "pager.sock"; }
// Where memory_keeper is found, in the migration's directory: as long as memory is missing, and then, for as long as it
// has not been told to end.
inline std::filesystem::path keeper_socket(const std::filesystem::path& directory) { return directory / "keeper.sock"; }
inline std::filesystem::path keeper_socket_when_done(const std::filesystem::path& directory) {
  return directory / "keeper.done";
}

class TargetMemory {
 public:
  struct Settings {
    uint32_t streams = 1;
    uint64_t bytes_max = 0;            // of the store
    std::filesystem::path socket;      // lazy-pages.socket in CRIU's work directory
    std::filesystem::path keeper;      // the helper program
    std::function<void()> on_failure;  // pages will not come any more; from a thread of its own
    // For another pager, if this process is killed: where it finds the keeper, and what it then knows.
    std::filesystem::path directory;
    std::string id;
    std::string token;
  };
  static Result<std::unique_ptr<TargetMemory>> create(Settings settings);

  struct Orphan {
    std::filesystem::path directory;
    std::string id;
    pid_t first_process = 0;  // the container's
    std::filesystem::path cgroup;
    uint64_t bytes_max = 0;
  };
  // The memory of a container whose pager was killed; it stands still. All that it lacks is owed, it is paused(), and
  // the container may go on. An error: what it lacks is not known any more; nothing has been changed.
  static Result<std::unique_ptr<TargetMemory>> take_over(const Orphan& orphan);
  // Cuts the links. If it is not done, the container is frozen, and another pager may take over.
  ~TargetMemory();

  // Of the connection for requests.
  uint32_t request_channel() const { return streams_ + 1; }
  const std::string& token() const { return token_; }

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
  // The tasks, of which PID is the first, are about to run in the cgroup FREEZER. If this process dies from here on
  // while memory is missing, they are frozen.
  Result<> guard(pid_t pid, const std::filesystem::path& freezer);
  // The tasks run.
  void begin_fill();
  // What the source is told that asks.
  void describe(peer::OutcomeReply& reply);
  // Waits up to LIMIT for a change worth telling.
  peer::PagesLeftReply progress(std::chrono::milliseconds limit);

  uint64_t store_bytes_peak() const { return store_->bytes_peak(); }
  std::optional<Error> failure() const { return receiving_->failure(); }
  void cancel() { receiving_->cancel(); }

 private:
  TargetMemory() = default;
  Pager::Settings pager_settings();
  void end_keeper();
  Result<> settle_present(const Orphan& orphan);

  std::filesystem::path directory_;
  uint32_t streams_ = 1;
  std::string token_;
  std::unique_ptr<PagerLog> log_;
  std::unique_ptr<MemoryKeeper> keeper_;
  std::once_flag keeper_ended_;
  std::unique_ptr<PageStore> store_;
  std::unique_ptr<PageReceiving> receiving_;
  std::unique_ptr<Pager> pager_;
  Clock::time_point resumed_at_{};
};

}  // namespace godwit
