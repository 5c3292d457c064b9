// The target's end of the memory connections: fills the page store while rounds go on, takes the map of the freeze,
// then hands owed pages to the pager and asks for those that the container waits for.
//
// One thread for each connection, and one that sends requests.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/page.h"
#include "base/result.h"
#include "memory/page_store.h"
#include "memory/pager.h"
#include "migration/page_frames.h"
#include "transport/data_connection.h"

namespace godwit {

class PageReceiving {
 public:
  // For STREAMS memory connections, and one for requests. STORE outlives it. REGIONS_MAX bounds the maps of all
  // spaces together.
  // ON_FAILURE is called once, from a thread of its own, when pages will not come any more.
  PageReceiving(PageStore& store, uint32_t streams, uint64_t regions_max, std::function<void()> on_failure);
  ~PageReceiving();  // cancels
  PageReceiving(const PageReceiving&) = delete;
  PageReceiving& operator=(const PageReceiving&) = delete;

  // Where owed pages go. Before the first connection.
  void use(Pager& pager) { pager_ = &pager; }
  // A connection of channel 1 to STREAMS+1. False: there is one already, or no such channel.
  bool accept(std::unique_ptr<DataConnection> connection);

  // After a failure, once the maps were here: a new connection for requests. Everything that is still owed is asked for
  // on it, little by little, so that what the container waits for does not wait behind it. False: nothing has failed,
  // or it is another channel.
  bool resume(std::unique_ptr<DataConnection> connection);

  // In place of all connections, which a pager had that was killed: the maps were here, and resume() is what comes.
  void begin_without_connections();

  // Waits until the map of the freeze has been applied; the spaces it names. An error: it will not come.
  Result<std::vector<SpaceId>> await_map(Deadline deadline);
  // Asks the source for owed pages; never blocks.
  void request(SpaceId space, const PageRange& pages);

  std::optional<Error> failure() const;
  uint64_t bytes_received() const { return bytes_; }
  void cancel();
  // The last page is here: what the connections do from now on is of no interest.
  void end();

 private:
  Result<> receive(uint32_t stream);
  Result<> take(uint32_t stream, const wire::FrameHeader& header, PageFrameReceiver& frames, bool& frozen, bool& done);
  Result<> take_stored(uint32_t stream, const wire::FrameHeader& header, PageFrameReceiver& frames);
  Result<uint64_t> take_owed(const wire::FrameHeader& header, PageFrameReceiver& frames);
  Result<> store_pages(const wire::FrameHeader& header, std::span<const wire::PageRun> runs, PageFrameReceiver& frames);
  Result<> take_map(const wire::FrameHeader& header, DataConnection& connection);
  Result<> apply_maps(const wire::FrameHeader& header);
  Result<> await_applied();
  Result<> receive_answers(DataConnection& connection);
  void send_requests(DataConnection& connection);
  std::vector<wire::PageRun> next_requests(SpaceId& space);
  void serve_requests(DataConnection& connection);
  void fail_with(Error error);

  PageStore& store_;
  const uint32_t streams_;
  const uint64_t regions_max_;
  const std::function<void()> on_failure_;
  Pager* pager_ = nullptr;

  std::vector<std::unique_ptr<DataConnection>> connections_;  // by channel - 1; an entry is set once
  std::map<SpaceId, std::vector<RegionMap>> maps_;            // first stream's thread only
  uint64_t regions_ = 0;                                      // in them
  std::vector<SpaceId> spaces_;
  std::atomic<uint64_t> bytes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint32_t frozen_streams_ = 0;
  bool applied_ = false;
  bool ending_ = false;
  std::optional<Error> failure_;
  using Request = std::pair<SpaceId, PageRange>;
  std::deque<Request> requests_;  // the container waits for them
  std::deque<Request> lacking_;   // all else that is owed, if nobody sends it unasked
  uint64_t underway_pages_ = 0;   // asked for and not yet here
  std::vector<std::unique_ptr<DataConnection>> broken_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
