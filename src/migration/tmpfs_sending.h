// The files of a container's tmpfs mounts, on the source: sent while the container runs, again where they change, and
// what is left in the freeze, beside CRIU's dump. On a data connection of their own.
//
// The calls come in this order: create, declare, use, send_first, begin_rounds, end_rounds, freeze, finish; cancel at
// any time, from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "control.pb.h"
#include "criu_rpc.pb.h"
#include "kernel/mounts.h"
#include "memory/file_contents.h"
#include "migration/tmpfs_choice.h"
#include "peer.pb.h"
#include "transport/data_connection.h"
#include "transport/rate_limit.h"

namespace godwit {

class TmpfsSending {
 public:
  struct Settings {
    pid_t first_process = 0;
    std::filesystem::path cgroup;    // the container's, in the freezer hierarchy
    std::vector<std::string> binds;  // destinations of bind mounts in config.json
  };
  // Null: there is nothing for it to do. NOTES: what the user should know.
  static Result<std::unique_ptr<TmpfsSending>> create(Settings settings, std::vector<std::string>& notes);
  ~TmpfsSending();

  void declare(criu::Options& options) const;
  void declare(peer::Prepare& prepare) const;
  void use(std::unique_ptr<DataConnection> connection, std::shared_ptr<RateLimit> limit);

  // The container runs. All files there are.
  Result<> send_first();
  // Then what changes, in a thread, until end_rounds().
  void begin_rounds();
  Result<> end_rounds();
  // The container stands still: sends what is left, in a thread.
  void freeze();
  // Waits for that. An error: the target does not have the files.
  Result<> finish();
  // Why the target cannot have the files, once that is known.
  std::optional<Error> failure() const { return failed_ ? std::optional(result_.error()) : std::nullopt; }
  void cancel();

  uint64_t bytes_on_wire() const;
  void describe(control::Report& report) const;

 private:
  class Sink;
  explicit TmpfsSending(Settings settings);
  Result<TmpfsChoice> choose() const;
  Result<> pass();
  Result<> send_last();
  Result<> send_tree(uint32_t mount, const peer::FileTree& tree);
  Result<> check_mounts() const;
  std::set<uint64_t> mapped_files() const;

  const Settings settings_;
  std::vector<MountEntry> mounts_;
  std::vector<std::unique_ptr<FileContents>> contents_;
  std::unique_ptr<DataConnection> connection_;
  std::unique_ptr<Sink> sink_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;  // under the mutex
  Result<> result_;    // of the thread that ran last
  uint64_t bytes_before_freeze_ = 0;
  double frozen_ms_ = 0;
  std::atomic<bool> failed_ = false;  // in the freeze; result_ tells why
  std::jthread thread_;
};

}  // namespace godwit
