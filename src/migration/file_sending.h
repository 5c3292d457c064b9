// The files of a container's tmpfs mounts and its shared memory, on the source: sent while the container runs, again
// where they change, and what is left in the freeze, beside CRIU's dump. On a data connection of their own.
//
// The calls come in this order: create, declare, agree, use, send_first, begin_rounds, end_rounds or, in place of these
// three, look; then freeze, finish; cancel at any time, from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "control.pb.h"
#include "criu_rpc.pb.h"
#include "kernel/mounts.h"
#include "memory/file_contents.h"
#include "memory/shared_contents.h"
#include "memory/shared_tracker.h"
#include "memory/write_tracker.h"
#include "migration/tmpfs_choice.h"
#include "peer.pb.h"
#include "transport/data_connection.h"
#include "transport/rate_limit.h"

namespace godwit {

class FileSending {
 public:
  struct Settings {
    pid_t first_process = 0;
    std::filesystem::path cgroup;    // the container's, in the freezer hierarchy
    std::vector<std::string> binds;  // destinations of bind mounts in config.json
    bool mounts = true;
    bool shared_memory = true;  // CRIU can be kept from dumping it
    // What is written through mappings is found by write protection, where that works; SharedTracker::Settings.
    bool track = false;
    OpenUserfaultfd open_userfaultfd = open_userfaultfd_of;
    std::function<Result<>()> hold_still = nullptr;
    std::function<Result<>()> let_go = nullptr;
  };
  // Null: there is nothing for it to do. NOTES: what the user should know.
  static Result<std::unique_ptr<FileSending>> create(Settings settings, std::vector<std::string>& notes);
  ~FileSending();

  void declare(criu::Options& options) const;
  void declare(peer::Prepare& prepare) const;
  // What the target answered to declare(). False: nothing is left to do.
  bool agree(const peer::PrepareReply& reply);
  void use(std::unique_ptr<DataConnection> connection, std::shared_ptr<RateLimit> limit);

  // The container runs. All files there are.
  Result<> send_first();
  // Then what changes, in a thread, until end_rounds().
  void begin_rounds();
  Result<> end_rounds();
  // The container runs and is not sent before the freeze: what there is.
  void look();
  // Shared memory that CRIU is not to dump, device and inode number of each object. From the last pass or look on.
  std::vector<std::pair<uint64_t, uint64_t>> owned_objects() const;
  // The container stands still: sends what is left, in a thread.
  void freeze();
  // Waits for that. An error: the target does not have the files.
  Result<> finish();
  // Why the target cannot have the files, once that is known.
  std::optional<Error> failure() const { return failed_ ? std::optional(result_.error()) : std::nullopt; }
  void cancel();
  // After a cancel: the processes are as if they had never been tracked.
  void end_tracking();

  uint64_t bytes_on_wire() const;
  void describe(control::Report& report) const;

 private:
  class Sink;
  explicit FileSending(Settings settings);
  Result<TmpfsChoice> choose() const;
  Result<> pass();
  Result<> send_last();
  Result<> send_tree(uint32_t index, const std::string& tree);
  Result<> check_mounts() const;
  void begin_tracking();
  std::vector<pid_t> processes() const;
  MappedLook mapped_files(const std::vector<pid_t>& processes) const;

  const Settings settings_;
  std::vector<MountEntry> mounts_;
  std::vector<std::unique_ptr<FileContents>> contents_;
  std::unique_ptr<SharedContents> shared_;  // none: shared memory goes in CRIU's images
  std::unique_ptr<SharedTracker> tracker_;  // none: what is mapped is read whole
  std::unique_ptr<DataConnection> connection_;
  std::unique_ptr<Sink> sink_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;  // under the mutex
  Result<> result_;    // of the thread that ran last
  std::atomic<uint64_t> shared_bytes_ = 0;
  uint64_t bytes_before_freeze_ = 0;
  double frozen_ms_ = 0;
  std::atomic<bool> failed_ = false;  // in the freeze; result_ tells why
  std::jthread thread_;
};

}  // namespace godwit
