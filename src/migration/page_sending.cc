#include "migration/page_sending.h"

#include <algorithm>
#include <utility>

#include "memory/memory_map.h"
#include "memory/page_set.h"
#include "memory/region_bits.h"

namespace godwit {

namespace {

// The target asks when it needs something; it may be silent for as long as the container runs.
constexpr std::chrono::hours kRequestsMayPauseFor{24 * 365};

// Answers to requests are of a few pages.
const CodecChoice kUnpacked(wire::Codec::kNone);

}  // namespace

// One connection and what was sent on it. Used by one thread at a time.
class PageSending::Stream {
 public:
  Stream(std::unique_ptr<DataConnection> connection, CodecChoice codec, RateLimit* limit,
         std::function<void()> progress)
      : connection_(std::move(connection)),
        frames_(*connection_, codec),
        limit_(limit),
        progress_(std::move(progress)) {}

  DataConnection& connection() { return *connection_; }
  Result<> sync() { return frames_.sync(); }
  void may_sync(bool may) { frames_.may_sync(may); }

  // Any number of pages of one region, or fewer than a frame's of several.
  Result<> send(SpaceId space, pid_t pid, const PageRanges& pages, PageFrameSender::Unreadable unreadable) {
    auto sent = frames_.send(space, pid, pages, limit_, unreadable, unreadable_);
    if (!sent) return std::unexpected(std::move(sent.error()));
    {
      std::lock_guard lock(mutex_);
      counts_ += *sent;
      for (const PageRange& range : unreadable_) unsent_[space].push_back(range);
    }
    unreadable_.clear();
    if (progress_) progress_();
    return {};
  }

  // The pages of PAGES that belong on stream NUMBER of COUNT, in frames as full as can be.
  Result<> send_mine(const SpacePages& pages, uint32_t number, uint32_t count) {
    PageRanges batch;
    uint64_t batched = 0;
    auto flush = [&]() -> Result<> {
      if (batch.empty()) return {};
      Result<> sent = send(pages.space, pages.pid, batch, PageFrameSender::Unreadable::kLeaveOut);
      batch.clear();
      batched = 0;
      return sent;
    };
    for (const PageRange& range : pages.pages) {
      for (RemoteAddr at = range.start; at < range.end();) {
        const RemoteAddr region_end = std::min(range.end(), at.region() + kRegionBytes);
        if (stream_of(pages.space, at, count) != number) {
          at = region_end;
          continue;
        }
        const uint64_t fits = std::min((region_end - at) / kPageBytes, wire::kPagesPerFrame - batched);
        batch.push_back({at, fits});
        batched += fits;
        at = at + fits * kPageBytes;
        if (batched == wire::kPagesPerFrame) TRY(flush());
      }
    }
    return flush();
  }

  PageCounts counts() const {
    std::lock_guard lock(mutex_);
    return counts_;
  }
  PageRanges unsent(SpaceId space) const {
    std::lock_guard lock(mutex_);
    auto found = unsent_.find(space);
    return found == unsent_.end() ? PageRanges() : found->second;
  }

 private:
  std::unique_ptr<DataConnection> connection_;
  PageFrameSender frames_;
  RateLimit* limit_;
  const std::function<void()> progress_;
  PageRanges unreadable_;
  mutable std::mutex mutex_;
  PageCounts counts_;
  std::map<SpaceId, PageRanges> unsent_;
};

PageSending::PageSending(Settings settings) : limit_(std::move(settings.limit)) {
  for (auto& connection : settings.streams)
    streams_.push_back(
        std::make_unique<Stream>(std::move(connection), settings.codec, limit_.get(), settings.progress));
  settings.requests->set_idle_limit(kRequestsMayPauseFor);
  requests_ = std::make_unique<Stream>(std::move(settings.requests), kUnpacked, nullptr, settings.progress);
}

PageSending::~PageSending() { cancel(); }

Result<PageCounts> PageSending::send_round(const std::vector<SpacePages>& pages) {
  const PageCounts before = counts();
  const uint64_t bytes_before = bytes_on_wire();
  const auto count = static_cast<uint32_t>(streams_.size());
  auto send_on = [&](uint32_t stream) -> Result<> {
    for (const SpacePages& space : pages) TRY(streams_[stream]->send_mine(space, stream, count));
    return streams_[stream]->sync();
  };
  {
    std::vector<std::jthread> others;
    for (uint32_t stream = 1; stream < count; ++stream)
      others.emplace_back([&, stream] {
        if (auto sent = send_on(stream); !sent) fail_with(std::move(sent.error()));
      });
    if (auto sent = send_on(0); !sent) fail_with(std::move(sent.error()));
  }
  if (auto failed = failure()) return std::unexpected(*failed);
  PageCounts round = counts();
  round.pages -= before.pages;
  round.pages_zero -= before.pages_zero;
  round.bytes = bytes_on_wire() - bytes_before;
  return round;
}

PageRanges PageSending::unsent(SpaceId space) const {
  PageRanges all;
  for (const auto& stream : streams_) {
    PageRanges some = stream->unsent(space);
    all.insert(all.end(), some.begin(), some.end());
  }
  return normalise(std::move(all));
}

Result<> PageSending::begin_owed(const std::vector<FrozenPages>& spaces, bool awaited) {
  owed_ = std::make_unique<OwedPages>(static_cast<uint32_t>(streams_.size()));
  for (const FrozenPages& space : spaces) {
    pids_[space.space] = space.pid;
    owed_->add(space.space, space.owed);
  }
  for (const auto& stream : streams_) {
    stream->may_sync(false);  // the switch-over waits for nothing
    TRY(stream->connection().send_frame({.type = wire::FrameType::kFrozen}));
  }
  TRY(send_maps(spaces));
  for (const FrozenPages& space : spaces) TRY(send_first(space));
  for (uint32_t stream = 0; stream < streams_.size(); ++stream) threads_.emplace_back([this, stream] { push(stream); });
  threads_.emplace_back([this] { answer_requests(); });
  if (awaited) switched_over();
  return {};
}

void PageSending::switched_over() {
  pushing_ = true;
  pushing_.notify_all();
}

Result<> PageSending::send_maps(const std::vector<FrozenPages>& spaces) {
  DataConnection& first = streams_[0]->connection();
  for (const FrozenPages& space : spaces) {
    for (const std::string& payload : encode_memory_map(space.populated, space.owed))
      TRY(first.send_frame({.type = wire::FrameType::kMemoryMap, .index = space.space}, payload));
    // A process without memory of its own is one that the target must know nevertheless.
    if (space.populated.empty()) TRY(first.send_frame({.type = wire::FrameType::kMemoryMap, .index = space.space}));
  }
  return first.send_frame({.type = wire::FrameType::kMapsEnd, .index = static_cast<uint32_t>(spaces.size())});
}

Result<> PageSending::send_first(const FrozenPages& space) {
  for (const PageRange& range : intersect(space.owed, space.read_first))
    for (RemoteAddr at = range.start; at < range.end();) {
      const RemoteAddr end =
          std::min({range.end(), at.region() + kRegionBytes, at + wire::kPagesPerFrame * kPageBytes});
      const PageRanges pages = owed_->take_requested(space.space, {at, (end - at) / kPageBytes});
      const uint32_t stream = stream_of(space.space, at, static_cast<uint32_t>(streams_.size()));
      TRY(streams_[stream]->send(space.space, space.pid, pages, PageFrameSender::Unreadable::kSendAsZero));
      at = end;
    }
  return {};
}

void PageSending::push(uint32_t stream) {
  pushing_.wait(false);  // until the container runs again: no processor is taken from the switch-over
  streams_[stream]->may_sync(true);
  while (auto batch = owed_->take(stream, wire::kPagesPerFrame)) {
    if (ending_) return;
    auto sent = streams_[stream]->send(batch->space, pid_of(batch->space), batch->pages,
                                       PageFrameSender::Unreadable::kSendAsZero);
    if (!sent) return fail_with(std::move(sent.error()));
  }
  auto sent = streams_[stream]->connection().send_frame({.type = wire::FrameType::kPagesEnd});
  if (!sent) fail_with(std::move(sent.error()));
}

void PageSending::answer_requests() {
  DataConnection& connection = requests_->connection();
  std::string payload;
  while (!ending_) {
    auto header = connection.receive_frame(payload);
    if (!header) return fail_with(std::move(header.error()));
    if (header->type != wire::FrameType::kPageRequest) return fail_with(Error("the target sent something odd"));
    auto runs = wire::decode_page_runs(payload, header->count, false);
    if (!runs) return fail_with(std::move(runs.error()));
    for (const wire::PageRun& run : *runs) {
      for (const PageRange& range : owed_->take_requested(header->index, run.range)) {
        if (limit_) limit_->take_at_once(range.bytes());
        for (PageRange rest = range; rest.pages > 0;) {
          const PageRange part{rest.start, std::min<uint64_t>(rest.pages, wire::kPagesPerFrame)};
          if (auto sent = requests_->send(header->index, pid_of(header->index), {part},
                                          PageFrameSender::Unreadable::kSendAsZero);
              !sent)
            return fail_with(std::move(sent.error()));
          rest = {part.end(), rest.pages - part.pages};
        }
      }
    }
  }
}

pid_t PageSending::pid_of(SpaceId space) const {
  auto found = pids_.find(space);
  return found == pids_.end() ? 0 : found->second;
}

uint64_t PageSending::bytes_on_wire() const {
  uint64_t bytes = requests_->connection().bytes_sent();
  for (const auto& stream : streams_) bytes += stream->connection().bytes_sent();
  std::lock_guard lock(mutex_);
  return bytes + earlier_.bytes + (answering_ ? answering_->counts().bytes : 0);
}

PageCounts PageSending::counts() const {
  PageCounts counts = requests_->counts();
  for (const auto& stream : streams_) counts += stream->counts();
  {
    std::lock_guard lock(mutex_);
    counts += earlier_;
    if (answering_) counts += answering_->counts();
  }
  counts.bytes = bytes_on_wire();
  return counts;
}

std::optional<Error> PageSending::failure() const {
  std::lock_guard lock(mutex_);
  return answering_ && !failure_ ? answering_->failure() : failure_;
}

// The first one counts; what others then meet is its consequence.
void PageSending::fail_with(Error error) {
  if (ending_) return;
  {
    std::lock_guard lock(mutex_);
    if (failure_) return;
    failure_ = std::move(error);
  }
  cancel();
}

void PageSending::cancel() {
  switched_over();  // what waits for it meets the end of its connection
  if (limit_) limit_->cancel();
  for (const auto& stream : streams_) stream->connection().cancel();
  requests_->connection().cancel();
  std::lock_guard lock(mutex_);
  if (answering_) answering_->cancel();
}

void PageSending::resume(std::unique_ptr<DataConnection> connection) {
  cancel();
  threads_.clear();
  auto answering = std::make_unique<PageAnswering>(std::move(connection), pids_,
                                                   limit_ ? limit_->again() : std::make_shared<RateLimit>(0));
  std::lock_guard lock(mutex_);
  if (answering_) {
    answering_->end();
    earlier_ += answering_->counts();
  }
  std::swap(answering_, answering);
  failure_.reset();
}

void PageSending::end() {
  ending_ = true;
  cancel();
  threads_.clear();
  std::lock_guard lock(mutex_);
  if (answering_) answering_->end();
}

}  // namespace godwit
