// The far end of runC's --console-socket: receives the master of the container's terminal and starts a stream keeper
// that holds it.
#pragma once

#include <filesystem>
#include <memory>
#include <thread>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

class TerminalReceiver {
 public:
  // Listens at SOCKET, which must not exist. KEEPER is the stream_keeper program, LOG what it writes.
  static Result<std::unique_ptr<TerminalReceiver>> start(std::filesystem::path socket, std::filesystem::path keeper,
                                                         std::filesystem::path log);
  ~TerminalReceiver();
  TerminalReceiver(const TerminalReceiver&) = delete;
  TerminalReceiver& operator=(const TerminalReceiver&) = delete;

 private:
  TerminalReceiver() = default;
  void serve();
  std::filesystem::path socket_;
  std::filesystem::path keeper_;
  std::filesystem::path log_;
  ScopedFd listener_;
  std::thread thread_;
};

}  // namespace godwit
