// Image files over a data connection: the two ends of what runtime/image_dir.h reads and writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "runtime/image_dir.h"
#include "transport/data_connection.h"

namespace godwit {

// Source: sends what CRIU writes into DIRECTORY, from a thread of its own, from construction on.
class ImageSending {
 public:
  // PROGRESS is called with the bytes sent so far, from the sending thread.
  ImageSending(std::filesystem::path directory, std::unique_ptr<DataConnection> connection,
               std::function<void(uint64_t)> progress);
  ~ImageSending();  // cancels

  // CRIU has written everything: sends the rest, says how much there was, and returns when all is on its way.
  Result<> finish();
  void cancel();

  uint32_t files() const { return reader_.files(); }
  uint64_t bytes() const { return reader_.bytes(); }
  uint64_t bytes_on_wire() const { return connection_->bytes_sent(); }

 private:
  class Sink;
  void run();

  std::unique_ptr<DataConnection> connection_;
  std::unique_ptr<Sink> sink_;
  ImageReader reader_;
  ScopedFd wake_;
  std::atomic<bool> dumped_ = false;
  std::atomic<bool> cancelled_ = false;
  Result<> result_;
  std::thread thread_;
};

// Target: writes what arrives into DIRECTORY until the sender says that it was all.
class ImageReceiving {
 public:
  ImageReceiving(std::filesystem::path directory, uint64_t bytes_max,
                 std::unique_ptr<DataConnection> connection);
  ~ImageReceiving();  // cancels

  // Waits for the last image. An error: the link was lost, or the peer broke the protocol.
  Result<> finish();
  void cancel();

  uint32_t files() const { return writer_.files_complete(); }
  uint64_t bytes() const { return writer_.bytes(); }

 private:
  Result<> receive();

  std::unique_ptr<DataConnection> connection_;
  ImageWriter writer_;
  Result<> result_;
  std::thread thread_;
};

}  // namespace godwit
