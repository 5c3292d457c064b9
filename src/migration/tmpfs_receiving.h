// The files of a container's tmpfs mounts, on the target: a tmpfs for each, filled while the container runs on the
// source. CRIU binds them into the restored container; what is left here is then detached.
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
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "criu_rpc.pb.h"
#include "memory/file_staging.h"
#include "migration/tmpfs_choice.h"
#include "peer.pb.h"
#include "transport/data_connection.h"
#include "wire/frame.h"

namespace godwit {

class TmpfsReceiving {
 public:
  struct Settings {
    std::filesystem::path directory;  // the mounts are made below it; on a private mount
    std::vector<peer::TmpfsMount> mounts;
    uint64_t bytes_max = 0;            // of all files together
    std::function<void()> on_failure;  // the files will not come; from the receiving thread
  };
  // Makes the mounts. Before runC is started: a mount made later is not seen in its mount namespace.
  static Result<std::unique_ptr<TmpfsReceiving>> create(Settings settings);
  ~TmpfsReceiving();  // cancels and detaches

  void declare(criu::Options& options) const;
  std::vector<std::string> paths() const;  // of the mounts
  // False: there is a connection already.
  bool accept(std::unique_ptr<DataConnection> connection);

  // Every file has its name and size, so CRIU may restore.
  Result<> await_trees(Deadline deadline);
  // All content is here.
  Result<> await_content(Deadline deadline);
  std::optional<Error> failure();
  // The restored container has the mounts.
  void detach();
  void cancel();

 private:
  struct Mount {
    std::filesystem::path path;
    TmpfsOptions options;
    bool mounted = false;
    std::unique_ptr<FileStaging> files;
    std::string tree;  // the part that is here
    bool applied = false;
  };

  explicit TmpfsReceiving(Settings settings) : settings_(std::move(settings)) {}
  Result<> make(const peer::TmpfsMount& asked, Mount& mount) const;
  Result<> receive();
  Result<> take(const wire::FrameHeader& header, const std::string& payload);
  Result<> take_tree(Mount& mount, const wire::FrameHeader& header);
  Result<> end_content(const wire::FrameHeader& header);
  Result<> reconfigure(const Mount& mount) const;
  Result<> check_size(size_t more);
  Result<> await(const bool& what, Deadline deadline);

  const Settings settings_;
  std::vector<Mount> mounts_;
  uint64_t unchecked_bytes_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool trees_here_ = false;
  bool content_here_ = false;
  Result<> result_;
  std::unique_ptr<DataConnection> connection_;
  std::jthread thread_;
};

}  // namespace godwit
