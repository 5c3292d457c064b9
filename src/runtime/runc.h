// runC as an external program: its containers on this host, and the checkpoint and restore it runs for us.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/subprocess.h"

namespace godwit {

struct RuncPaths {
  std::filesystem::path runc;     // the program
  std::filesystem::path root;     // its --root, where it keeps its containers' state
  std::filesystem::path helpers;  // directory of the helper programs; stub/ in it has our `criu` and `tar`
};

struct ContainerState {
  std::string name;
  std::string status;  // created, running, paused, stopped
  pid_t pid = 0;       // the container's first process
  std::filesystem::path bundle;
  std::filesystem::path freezer_cgroup;  // directory in the v1 freezer or the unified hierarchy
  std::string cgroup_path;               // relative, as runC was told or chose
};

class Runc {
 public:
  explicit Runc(RuncPaths paths) : paths_(std::move(paths)) {}

  // Error code ENOENT: there is no container of that name.
  Result<ContainerState> state(const std::string& name) const;
  Result<std::vector<ContainerState>> list() const;
  bool exists(const std::string& name) const;
  Result<std::string> version() const;

  struct CheckpointArguments {
    std::string name;
    std::filesystem::path images;
    std::filesystem::path work;
    std::filesystem::path bridge_socket;  // of the CriuBridge
    int log_fd = -1;                      // borrowed: runC's own messages
    bool private_tmp = false;             // nothing that runC needs is below /tmp
  };
  // Started, not awaited: it ends after CRIU has.
  Result<Subprocess> start_checkpoint(const CheckpointArguments& arguments) const;

  struct RestoreArguments {
    std::string name;
    std::filesystem::path bundle;
    std::filesystem::path images;
    std::filesystem::path work;
    std::filesystem::path bridge_socket;
    std::filesystem::path console_socket;  // empty: the container has no terminal
    int log_fd = -1;
    bool private_tmp = false;
  };
  Result<Subprocess> start_restore(const RestoreArguments& arguments) const;

  // Removes the container whatever its state. Succeeds when it is not there.
  Result<> remove(const std::string& name) const;

 private:
  Command command(std::vector<std::string> arguments) const;
  Command criu_command(std::vector<std::string> arguments, const std::filesystem::path& socket, int log_fd,
                       bool private_tmp) const;
  RuncPaths paths_;
};

// "3.17.1" of `criu --version`; an error when CRIU is missing or does not start.
Result<std::string> criu_version(const std::filesystem::path& criu);

}  // namespace godwit
