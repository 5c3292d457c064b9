// The source's end of the memory connections: rounds while the container runs, then the map of the freeze, then the
// pages that are owed, pushed and on request. The frames are described in wire/frame.h.
//
// Bytes are read from the processes when they are sent; nothing is kept here. A page that changes while it is read
// has been written after its scan, so it is in the next one.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/owed_pages.h"
#include "migration/page_answering.h"
#include "migration/page_frames.h"
#include "transport/data_connection.h"
#include "transport/rate_limit.h"

namespace godwit {

// Pages of one process.
struct SpacePages {
  SpaceId space = 0;
  pid_t pid = 0;
  PageRanges pages;
};

// An address space at the freeze.
struct FrozenPages {
  SpaceId space = 0;
  pid_t pid = 0;
  PageRanges populated;
  PageRanges owed;        // of those
  PageRanges read_first;  // what of them is to be sent before begin_owed() returns
};

class PageSending {
 public:
  struct Settings {
    std::vector<std::unique_ptr<DataConnection>> streams;  // channels 1 to N
    std::unique_ptr<DataConnection> requests;              // channel N+1
    std::shared_ptr<RateLimit> limit;
    CodecChoice codec;
    std::function<void()> progress;  // something was sent; from sending threads
  };

  explicit PageSending(Settings settings);
  ~PageSending();  // cancels
  PageSending(const PageSending&) = delete;
  PageSending& operator=(const PageSending&) = delete;

  // Blocks until the target has taken the round. Pages that could not be read (unmapped since) are added to
  // UNSENT, by space: if they have content at the freeze, they are owed.
  Result<PageCounts> send_round(const std::vector<SpacePages>& pages);
  // The container is frozen, SPACES is all of it. From here on owed pages are pushed and requests answered, until
  // everything is pushed and the target has closed, or cancel().
  // AWAITED: the container waits for all of them. Otherwise pushing begins with switched_over(): the threads of the
  // switch-over are to have the processors, which no priority sees to between cgroups.
  Result<> begin_owed(const std::vector<FrozenPages>& spaces, bool awaited);
  // The container runs on the target: what is pushed is no longer in the way of the switch-over.
  void switched_over();
  // The pages of SPACE that rounds could not read; they add to what is owed.
  PageRanges unsent(SpaceId space) const;

  uint64_t owed_total() const { return owed_ ? owed_->total() : 0; }
  uint64_t owed_left() const { return owed_ ? owed_->left() : 0; }
  uint64_t bytes_on_wire() const;
  // Of everything sent so far.
  PageCounts counts() const;
  // What ended it before its time, if something did.
  std::optional<Error> failure() const;
  void cancel();
  // After a failure, once owed pages were being sent: on CONNECTION the target asks for all that it still lacks. That
  // may be more than was owed at the freeze, if its agent was killed.
  void resume(std::unique_ptr<DataConnection> connection);
  // Stops pushing and answering without an error: the target has said that nothing is owed any more.
  void end();

 private:
  class Stream;

  Result<> send_maps(const std::vector<FrozenPages>& spaces);
  Result<> send_first(const FrozenPages& space);
  void push(uint32_t stream);
  void answer_requests();
  void fail_with(Error error);
  pid_t pid_of(SpaceId space) const;

  std::vector<std::unique_ptr<Stream>> streams_;
  std::unique_ptr<Stream> requests_;
  std::shared_ptr<RateLimit> limit_;
  std::unique_ptr<OwedPages> owed_;
  std::map<SpaceId, pid_t> pids_;  // constant once threads run
  std::atomic<bool> ending_ = false;
  std::atomic<bool> pushing_ = false;

  mutable std::mutex mutex_;                  // guards what follows
  std::unique_ptr<PageAnswering> answering_;  // after the first failure
  PageCounts earlier_;                        // of those before
  std::optional<Error> failure_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
