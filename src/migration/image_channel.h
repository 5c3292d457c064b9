// Image files over a data connection: the two ends of what runtime/image_dir.h reads and writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <latch>
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

  // Before CRIU writes anything. If the way is long: sends what makes TCP send images at once, at BYTES_PER_MS, which
  // is what the link carries (0: not known), instead of in more and more round trips; waits some of them for its
  // arrival.
  Result<> open_the_way(double bytes_per_ms);
  // CRIU has written everything: what is left of it follows.
  void dump_is_complete();
  // Waits until everything, and how much there was of it, is on its way.
  Result<> finish();
  void cancel();

  uint32_t files() const { return reader_.files(); }
  uint64_t bytes() const { return reader_.bytes(); }
  uint64_t bytes_on_wire() const { return connection_->bytes_sent(); }
  uint64_t filler_bytes() const { return filler_bytes_; }  // of open_the_way()
  // What of it was memory, and how long after its first byte the last one was sent. After finish().
  struct Memory {
    uint64_t bytes = 0;
    double ms = 0;
  };
  Memory memory() const;

 private:
  class Sink;
  void run();

  std::unique_ptr<DataConnection> connection_;
  std::unique_ptr<Sink> sink_;
  ImageReader reader_;
  ScopedFd wake_;
  std::atomic<bool> dumped_ = false;
  std::atomic<bool> cancelled_ = false;
  uint64_t filler_bytes_ = 0;
  Result<> result_;
  std::thread thread_;
};

// Target: writes what arrives into DIRECTORY until the sender says that it was all.
class ImageReceiving {
 public:
  ImageReceiving(ImageWriter writer, std::unique_ptr<DataConnection> connection);
  ~ImageReceiving();  // cancels

  // Waits for all images but those of memory; returns as well when they will not come, which finish() explains.
  void await_small_files() const { small_files_.wait(); }
  // Waits for the last image. An error: the link was lost, or the peer broke the protocol.
  Result<> finish();
  bool failed() const { return failed_; }  // finish() tells why
  void cancel();

  uint32_t files() const { return writer_.files_complete(); }
  uint64_t bytes() const { return writer_.bytes(); }

 private:
  Result<> receive();
  Result<> take(const wire::FrameHeader& header, const std::string& payload);

  std::unique_ptr<DataConnection> connection_;
  ImageWriter writer_;
  bool complete_ = false;      // receiving thread only
  uint64_t filler_bytes_ = 0;  // likewise
  std::atomic<bool> failed_ = false;
  Result<> result_;
  std::latch small_files_{1};  // opened when they are there, or will not come
  std::thread thread_;
};

}  // namespace godwit
