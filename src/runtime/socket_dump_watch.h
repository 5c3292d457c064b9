// Tells when the CRIU of a dump comes to the container's TCP connections: until then they send, what they send when
// CRIU has looked at them is lost, and its timestamps are unknown to the restored connection. The lens notices
// (helpers/lens.cc).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <thread>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class SocketDumpWatch {
 public:
  // AT_FIRST is called at most once, on a thread of its own, when the first connection sends no data any more
  // (TCP_REPAIR) and before CRIU looks at it: CRIU waits for the end of the call, two seconds at most. DIRECTORY is the
  // lens' (lens_files.h).
  static Result<std::unique_ptr<SocketDumpWatch>> start(const std::filesystem::path& directory,
                                                        std::function<void()> at_first);
  SocketDumpWatch(const SocketDumpWatch&) = delete;
  SocketDumpWatch& operator=(const SocketDumpWatch&) = delete;
  ~SocketDumpWatch();  // waits for a call under way

 private:
  SocketDumpWatch() = default;
  ScopedFd listener_;
  std::thread thread_;
};

}  // namespace godwit
