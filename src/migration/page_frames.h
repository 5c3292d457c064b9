// Pages of a process as frames on a data connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/page.h"
#include "base/result.h"
#include "migration/codec_choice.h"
#include "transport/data_connection.h"
#include "transport/rate_limit.h"
#include "wire/frame.h"
#include "wire/page_runs.h"

namespace godwit {

struct PageCounts {
  uint64_t pages = 0;       // with content
  uint64_t pages_zero = 0;  // a note of a few bytes each run
  uint64_t bytes = 0;       // on the wire

  PageCounts& operator+=(const PageCounts& other) {
    pages += other.pages;
    pages_zero += other.pages_zero;
    bytes += other.bytes;
    return *this;
  }
};

// Reads pages and sends them; for one thread.
class PageFrameSender {
 public:
  // CONNECTION outlives it.
  PageFrameSender(DataConnection& connection, CodecChoice codec);

  // What becomes of pages that cannot be read. While the process runs they have been unmapped and are left out; in a
  // frozen one their memory has failed, and the target must not wait for them.
  enum class Unreadable { kLeaveOut, kSendAsZero };

  // PAGES of process PID, at most wire::kPagesPerFrame of them, each range within one region, as one frame. Those that
  // cannot be read are appended to UNREAD; an error is one of the link. LIMIT may be null.
  Result<PageCounts> send(SpaceId space, pid_t pid, const PageRanges& pages, RateLimit* limit, Unreadable unreadable,
                          PageRanges& unread);

  // Waits until the receiver has taken all that was sent: what socket buffers swallow has not arrived.
  Result<> sync();
  // Whether send() may wait like that to measure what packing is worth. At first it may.
  void may_sync(bool may) { may_sync_ = may; }

 private:
  void find_runs(const PageRanges& pages, const PageRanges& unreadable);
  Result<> send_frame(SpaceId space, RateLimit* limit);

  DataConnection& connection_;
  CodecChoice codec_;
  bool may_sync_ = true;
  std::unique_ptr<std::byte[]> contents_;  // of one frame
  std::vector<wire::PageRun> runs_;
  std::vector<std::string_view> parts_;  // of contents_, one for each run that is not zero
  std::string head_;                     // frame header and runs
  std::string packed_;
};

// Takes the payload of a Pages frame off a connection; for one thread.
class PageFrameReceiver {
 public:
  explicit PageFrameReceiver(DataConnection& connection) : connection_(connection) {}

  // The runs of a frame, whose header has been received.
  Result<std::vector<wire::PageRun>> runs(const wire::FrameHeader& header);
  // Then its contents, whole. Valid until the next call.
  Result<std::span<const std::byte>> contents(const wire::FrameHeader& header, std::span<const wire::PageRun> runs);
  // Or straight to where they belong: PARTS, in order, together as long as the contents. Only without a codec.
  Result<> contents_to(std::span<const std::span<std::byte>> parts);

 private:
  DataConnection& connection_;
  std::string buffer_;
  std::string packed_;
};

}  // namespace godwit
