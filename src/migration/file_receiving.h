// The files of a container's tmpfs mounts and its shared memory, on the target: a tmpfs for each mount, a memfd for
// each object of shared memory, filled while the container runs on the source. CRIU binds the mounts into the restored
// container, and gives it the memfds (runtime/object_door.h); what is left here is then detached.
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
#include "memory/shared_staging.h"
#include "migration/tmpfs_choice.h"
#include "peer.pb.h"
#include "transport/data_connection.h"
#include "wire/frame.h"

namespace godwit {

class FileReceiving {
 public:
  struct Settings {
    std::filesystem::path directory;  // the mounts are made below it; on a private mount
    std::vector<peer::TmpfsMount> mounts;
    bool shared_memory = false;        // it may come
    uint64_t bytes_max = 0;            // of all files together
    std::function<void()> on_failure;  // the files will not come; from the receiving thread
  };
  // Makes the mounts. Before runC is started: a mount made later is not seen in its mount namespace.
  static Result<std::unique_ptr<FileReceiving>> create(Settings settings);
  ~FileReceiving();  // cancels and detaches

  void declare(criu::Options& options) const;
  std::vector<std::string> paths() const;  // of the mounts
  // False: there is a connection already.
  bool accept(std::unique_ptr<DataConnection> connection);

  // For CRIU, from any thread; nothing if it is not to be had here.
  std::optional<ScopedFd> take_object(uint64_t inode) { return shared_.take(inode); }
  // Objects that CRIU has not asked for.
  std::vector<uint64_t> untaken_objects() const { return shared_.untaken(); }

  // Every file has its name and size, so CRIU may restore.
  Result<> await_trees(Deadline deadline);
  // All content is here.
  Result<> await_content(Deadline deadline);
  std::optional<Error> failure();
  // The restored container has the mounts and the objects.
  void detach();
  void cancel();

 private:
  struct Tree {
    std::string text;  // the part that is here
    bool applied = false;
  };
  struct Mount {
    std::filesystem::path path;
    TmpfsOptions options;
    bool mounted = false;
    std::unique_ptr<FileStaging> files;
    Tree tree;
  };

  explicit FileReceiving(Settings settings) : settings_(std::move(settings)) {}
  Result<> make(const peer::TmpfsMount& asked, Mount& mount) const;
  Result<> receive();
  Result<> take(const wire::FrameHeader& header, const std::string& payload);
  Result<> take_file(Mount& mount, const wire::FrameHeader& header, std::string_view bytes);
  Result<> take_object(const wire::FrameHeader& header, std::string_view bytes);
  Result<> take_part(Tree& tree, std::string_view bytes) const;
  Result<> take_tree(Mount& mount, const wire::FrameHeader& header);
  Result<> take_list(const wire::FrameHeader& header);
  void note_tree();
  Result<> end_content(const wire::FrameHeader& header);
  Result<> reconfigure(const Mount& mount) const;
  Result<> check_size(size_t more);
  Result<> await(const bool& what, Deadline deadline);

  const Settings settings_;
  std::vector<Mount> mounts_;
  SharedStaging shared_;
  Tree list_;  // of shared memory
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
