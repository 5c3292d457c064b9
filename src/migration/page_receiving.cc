#include "migration/page_receiving.h"

#include <algorithm>

#include "memory/memory_map.h"
#include "memory/owed_pages.h"

namespace godwit {

namespace {

// The source decides when it freezes and whether anything has to be sent before.
constexpr std::chrono::hours kSilenceMax{24 * 365};

// What the container waits for waits at most for these: 1.5 MiB. More than kUrgentPagesMax (page_answering.cc) in a
// frame.
constexpr uint64_t kLackingPagesPerFrame = 128, kUnderwayPagesMax = 256;

constexpr std::byte kZeros[kRegionBytes] = {};

}  // namespace

PageReceiving::PageReceiving(PageStore& store, uint32_t streams, uint64_t regions_max, std::function<void()> on_failure)
    : store_(store),
      streams_(streams),
      regions_max_(regions_max),
      on_failure_(std::move(on_failure)),
      connections_(streams + 1) {}

PageReceiving::~PageReceiving() {
  end();
  threads_.clear();
}

bool PageReceiving::accept(std::unique_ptr<DataConnection> connection) {
  const uint32_t channel = connection->channel();
  std::lock_guard lock(mutex_);
  if (channel == 0 || channel > streams_ + 1 || connections_[channel - 1] || ending_) return false;
  connection->set_idle_limit(kSilenceMax);
  connections_[channel - 1] = std::move(connection);
  if (channel == streams_ + 1) {
    serve_requests(*connections_[streams_]);
    return true;
  }
  threads_.emplace_back([this, channel] {
    if (auto received = receive(channel - 1); !received) fail_with(std::move(received.error()));
  });
  return true;
}

void PageReceiving::serve_requests(DataConnection& connection) {
  threads_.emplace_back([this, &connection] {
    if (auto received = receive_answers(connection); !received) fail_with(std::move(received.error()));
  });
  threads_.emplace_back([this, &connection] { send_requests(connection); });
}

bool PageReceiving::resume(std::unique_ptr<DataConnection> connection) {
  std::vector<std::jthread> ended;
  {
    std::lock_guard lock(mutex_);
    if (!failure_ || !applied_ || ending_ || connection->channel() != streams_ + 1) return false;
    ended.swap(threads_);
  }
  ended.clear();  // they end by themselves: their connections are cut
  const auto owed = pager_->owed_pages();
  std::lock_guard lock(mutex_);
  connection->set_idle_limit(kSilenceMax);
  if (connections_[streams_]) broken_.push_back(std::move(connections_[streams_]));
  connections_[streams_] = std::move(connection);
  failure_.reset();
  requests_.clear();
  lacking_.assign(owed.begin(), owed.end());
  underway_pages_ = 0;
  serve_requests(*connections_[streams_]);
  return true;
}

void PageReceiving::begin_without_connections() {
  std::lock_guard lock(mutex_);
  applied_ = true;
  failure_ = Error("the pager that had the connections was killed");
}

Result<> PageReceiving::receive(uint32_t stream) {
  DataConnection& connection = *connections_[stream];
  PageFrameReceiver frames(connection);
  bool frozen = false;
  for (bool done = false; !done;) {
    TRY_ASSIGN(wire::FrameHeader header, connection.receive_header());
    bytes_ += wire::kFrameHeaderBytes + header.length;
    TRY(take(stream, header, frames, frozen, done));
  }
  return {};
}

Result<> PageReceiving::take(uint32_t stream, const wire::FrameHeader& header, PageFrameReceiver& frames, bool& frozen,
                             bool& done) {
  switch (header.type) {
    case wire::FrameType::kPages:
      if (!frozen) return take_stored(stream, header, frames);
      TRY(take_owed(header, frames));
      return {};
    case wire::FrameType::kSync:
      return connections_[stream]->send_frame({.type = wire::FrameType::kSync});
    case wire::FrameType::kFrozen: {
      if (frozen) return fail("the source says twice that it has frozen the container");
      frozen = true;
      {
        std::lock_guard lock(mutex_);
        ++frozen_streams_;
        changed_.notify_all();
      }
      return stream == 0 ? Result<>() : await_applied();
    }
    case wire::FrameType::kMemoryMap:
      if (stream != 0 || !frozen || applied_) return fail("a memory map at the wrong time");
      return take_map(header, *connections_[stream]);
    case wire::FrameType::kMapsEnd:
      if (stream != 0 || !frozen || applied_) return fail("the end of the maps at the wrong time");
      return apply_maps(header);
    case wire::FrameType::kPagesEnd:
      if (!frozen || (stream == 0 && !applied_)) return fail("the end of the pages at the wrong time");
      done = true;
      return {};
    default:
      return fail("a frame that has no place among pages");
  }
}

// How many pages.
Result<uint64_t> PageReceiving::take_owed(const wire::FrameHeader& header, PageFrameReceiver& frames) {
  TRY_ASSIGN(const auto runs, frames.runs(header));
  TRY_ASSIGN(std::span<const std::byte> contents, frames.contents(header, runs));
  uint64_t pages = 0;
  for (const wire::PageRun& run : runs) {
    const size_t bytes = run.range.bytes();
    TRY(pager_->deliver(header.index, run.range, run.zero ? std::span(kZeros).first(bytes) : contents.first(bytes)));
    if (!run.zero) contents = contents.subspan(bytes);
    pages += run.range.pages;
  }
  return pages;
}

// Two threads that fill one region would spoil the store.
Result<> PageReceiving::take_stored(uint32_t stream, const wire::FrameHeader& header, PageFrameReceiver& frames) {
  TRY_ASSIGN(const auto runs, frames.runs(header));
  for (const wire::PageRun& run : runs)
    if (stream_of(header.index, run.range.start, streams_) != stream)
      return fail("pages on another stream than theirs");
  return store_pages(header, runs, frames);
}

// From the connection to their places, without a copy in between if they are not packed.
Result<> PageReceiving::store_pages(const wire::FrameHeader& header, std::span<const wire::PageRun> runs,
                                    PageFrameReceiver& frames) {
  std::vector<std::span<std::byte>> parts;
  for (const wire::PageRun& run : runs)
    if (run.zero) {
      TRY(store_.put_zero(header.index, run.range));
    } else {
      TRY(store_.place(header.index, run.range, parts));
    }
  if (header.codec == wire::Codec::kNone) return frames.contents_to(parts);
  TRY_ASSIGN(std::span<const std::byte> contents, frames.contents(header, runs));
  for (const std::span<std::byte>& part : parts) {
    std::ranges::copy(contents.first(part.size()), part.begin());
    contents = contents.subspan(part.size());
  }
  return {};
}

Result<> PageReceiving::take_map(const wire::FrameHeader& header, DataConnection& connection) {
  std::string payload(header.length, '\0');
  TRY(connection.receive_exact(payload.data(), payload.size()));
  if (maps_.size() >= wire::kSpacesMax && !maps_.contains(header.index)) return fail("maps of too many processes");
  std::vector<RegionMap>& map = maps_[header.index];
  const uint64_t others = regions_ - map.size();
  auto decoded = decode_memory_map(payload, regions_max_ - others, map);
  regions_ = others + map.size();
  return decoded;
}

// Not before every stream has brought all that rounds sent: the store is to be what the map says.
Result<> PageReceiving::apply_maps(const wire::FrameHeader& header) {
  if (header.index != maps_.size()) return fail("the source counts other maps than have arrived");
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return frozen_streams_ == streams_ || failure_ || ending_; });
    if (failure_ || ending_) return fail(Error("cancelled", ECANCELED));
  }
  for (const auto& [space, regions] : maps_) {
    TRY(store_.apply_map(space, regions));
    spaces_.push_back(space);
  }
  maps_.clear();
  store_.end_maps();
  pager_->begin();
  std::lock_guard lock(mutex_);
  applied_ = true;
  changed_.notify_all();
  return {};
}

Result<> PageReceiving::await_applied() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return applied_ || failure_ || ending_; });
  if (!applied_) return fail(Error("cancelled", ECANCELED));
  return {};
}

Result<std::vector<SpaceId>> PageReceiving::await_map(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const bool in_time = changed_.wait_until(lock, deadline, [&] { return applied_ || failure_ || ending_; });
  if (failure_) return std::unexpected(*failure_);
  if (!in_time || !applied_) return fail("the source did not say which memory the container has");
  return spaces_;
}

// --- Requests -------------------------------------------------------------------------------------------------

void PageReceiving::request(SpaceId space, const PageRange& pages) {
  std::lock_guard lock(mutex_);
  requests_.emplace_back(space, pages);
  changed_.notify_all();
}

Result<> PageReceiving::receive_answers(DataConnection& connection) {
  PageFrameReceiver frames(connection);
  for (;;) {
    TRY_ASSIGN(wire::FrameHeader header, connection.receive_header());
    bytes_ += wire::kFrameHeaderBytes + header.length;
    if (header.type != wire::FrameType::kPages) return fail("a frame that has no place among answers");
    TRY(await_applied());
    TRY_ASSIGN(const uint64_t pages, take_owed(header, frames));
    std::lock_guard lock(mutex_);
    underway_pages_ -= std::min(pages, underway_pages_);
    if (!lacking_.empty()) changed_.notify_all();
  }
}

// What fits into a frame: pages of one process that the container waits for, as many as have come in the meantime, or
// some of those that are lacking.
std::vector<wire::PageRun> PageReceiving::next_requests(SpaceId& space) {
  const bool urgent = !requests_.empty();
  std::deque<Request>& from = urgent ? requests_ : lacking_;
  uint64_t room = urgent ? UINT64_MAX : kLackingPagesPerFrame;
  std::vector<wire::PageRun> runs;
  space = from.front().first;
  while (!from.empty() && from.front().first == space && runs.size() < wire::kRunsPerFrame && room > 0) {
    PageRange& pages = from.front().second;
    const PageRange part{pages.start, std::min(pages.pages, room)};
    runs.push_back({part, false});
    room -= part.pages;
    underway_pages_ += part.pages;
    pages = {part.end(), pages.pages - part.pages};
    if (pages.pages == 0) from.pop_front();
  }
  return runs;
}

void PageReceiving::send_requests(DataConnection& connection) {
  for (;;) {
    SpaceId space = 0;
    std::vector<wire::PageRun> runs;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return !requests_.empty() || (!lacking_.empty() && underway_pages_ < kUnderwayPagesMax) || failure_ || ending_;
      });
      if (failure_ || ending_) return;
      runs = next_requests(space);
    }
    std::string payload;
    wire::encode_page_runs(runs, payload);
    const wire::FrameHeader header{
        .type = wire::FrameType::kPageRequest, .index = space, .count = static_cast<uint32_t>(runs.size())};
    if (auto sent = connection.send_frame(header, payload); !sent) return fail_with(std::move(sent.error()));
  }
}

// --- End ------------------------------------------------------------------------------------------------------

std::optional<Error> PageReceiving::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void PageReceiving::fail_with(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (failure_ || ending_) return;
    failure_ = std::move(error);
    changed_.notify_all();
  }
  if (on_failure_) on_failure_();  // first: why is asked for by the source, which sees only that connections end
  cancel();
}

void PageReceiving::cancel() {
  std::lock_guard lock(mutex_);
  for (const auto& connection : connections_)
    if (connection) connection->cancel();
}

void PageReceiving::end() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  cancel();
}

}  // namespace godwit
