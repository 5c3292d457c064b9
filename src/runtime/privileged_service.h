// Does for a CRIU that restores into a user namespace what its processes may not do there: lends /dev/userfaultfd, the
// network namespace and external mounts, sets TCP_REPAIR, makes the raw socket that a FIN is restored with
// (helpers/privileged_request.h, helpers/restored_userns.cc).
//
// It must have ended before the first instruction of the container's own runs: whoever inherited the connection has
// nobody to ask then.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "base/unix_socket.h"

namespace godwit {

class PrivilegedService {
 public:
  // Serves who connects to SOCKET, which must not exist and is for root only, and the processes that inherit the
  // connection. NETNS is borrowed for the call; MOUNTS are the paths whose mounts it lends.
  static Result<std::unique_ptr<PrivilegedService>> start(const std::filesystem::path& socket, int netns,
                                                          std::vector<std::string> mounts);
  ~PrivilegedService();  // ends it
  PrivilegedService(const PrivilegedService&) = delete;
  PrivilegedService& operator=(const PrivilegedService&) = delete;

  // For CRIU's environment: "NAME=VALUE".
  const std::string& variable() const { return variable_; }

 private:
  PrivilegedService() = default;
  void serve();
  bool serve_one(int connection) const;
  Result<ScopedFd> fulfil(const Packet& packet) const;
  Result<ScopedFd> clone_mount(const std::string& path) const;

  std::string variable_;
  ScopedFd listener_;
  ScopedFd netns_;
  std::vector<std::string> mounts_;
  ScopedFd end_;  // eventfd
  std::thread thread_;
};

}  // namespace godwit
