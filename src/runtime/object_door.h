// Where a restoring CRIU gets shared memory that arrived before it (helpers/restored_objects.cc asks). Processes that
// it restores have other mounts and perhaps another network namespace, and their descriptors are the container's: so it
// is an abstract socket, in the agent's network namespace and in the container's, and who asks must know a secret.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class ObjectDoor {
 public:
  // The object with an inode number of the source's; nothing: it is CRIU's. On the door's thread.
  using Give = std::function<std::optional<ScopedFd>(uint64_t inode)>;
  // NETNS is the container's; borrowed.
  static Result<std::unique_ptr<ObjectDoor>> open(int netns, Give give);
  ~ObjectDoor();  // closes
  ObjectDoor(const ObjectDoor&) = delete;
  ObjectDoor& operator=(const ObjectDoor&) = delete;

  // For CRIU's environment: "NAME=VALUE".
  std::string variable() const;

 private:
  explicit ObjectDoor(Give give);
  void serve();
  void answer(int connection) const;

  const Give give_;
  const std::string name_;
  const std::string secret_;
  std::vector<ScopedFd> listeners_;
  ScopedFd stop_;
  std::thread thread_;
};

}  // namespace godwit
