#include "migration/page_frames.h"

#include <algorithm>

#include "memory/page_reader.h"
#include "memory/zero_pages.h"
#include "transport/page_codec.h"

namespace godwit {

namespace {

constexpr size_t kContentsBytes = size_t{wire::kPagesPerFrame} * kPageBytes;

bool contains(const PageRanges& ranges, RemoteAddr page) {
  return std::ranges::any_of(ranges, [&](const PageRange& range) { return range.contains(page); });
}

}  // namespace

PageFrameSender::PageFrameSender(DataConnection& connection, CodecChoice codec)
    : connection_(connection), codec_(codec), contents_(new std::byte[kContentsBytes]) {}

Result<PageCounts> PageFrameSender::send(SpaceId space, pid_t pid, const PageRanges& pages, RateLimit* limit,
                                         Unreadable unreadable, PageRanges& unread) {
  PageRanges failed;
  auto read = read_pages(pid, pages, {contents_.get(), kContentsBytes}, failed);
  if (!read) failed = pages;  // the process has ended
  if (unreadable == Unreadable::kLeaveOut) unread.insert(unread.end(), failed.begin(), failed.end());
  find_runs(pages, failed);
  if (unreadable == Unreadable::kSendAsZero)
    for (const PageRange& range : failed) runs_.push_back({range, true});
  if (runs_.empty()) return PageCounts();

  PageCounts counts;
  for (const wire::PageRun& run : runs_) (run.zero ? counts.pages_zero : counts.pages) += run.range.pages;
  const uint64_t before = connection_.bytes_sent();
  TRY(send_frame(space, limit));
  counts.bytes = connection_.bytes_sent() - before;
  return counts;
}

// What was read, as runs that are all zero or not; their contents lie in contents_ in the order of PAGES.
void PageFrameSender::find_runs(const PageRanges& pages, const PageRanges& unreadable) {
  runs_.clear();
  parts_.clear();
  const auto* at = reinterpret_cast<const char*>(contents_.get());
  for (const PageRange& range : pages) {
    for (RemoteAddr page = range.start; page < range.end(); page = page + kPageBytes, at += kPageBytes) {
      if (!unreadable.empty() && contains(unreadable, page)) continue;
      const bool zero = is_zero_page(at);
      const bool joins = !runs_.empty() && runs_.back().zero == zero && runs_.back().range.end() == page &&
                         page.value % kRegionBytes != 0;
      if (joins) {
        ++runs_.back().range.pages;
        if (!zero) parts_.back() = {parts_.back().data(), parts_.back().size() + kPageBytes};
      } else {
        runs_.push_back({{page, 1}, zero});
        if (!zero) parts_.emplace_back(at, kPageBytes);
      }
    }
  }
}

Result<> PageFrameSender::send_frame(SpaceId space, RateLimit* limit) {
  const size_t contents = wire::content_pages(runs_) * kPageBytes;
  wire::FrameHeader header{.type = wire::FrameType::kPages,
                           .index = space,
                           .length = static_cast<uint32_t>(runs_.size() * wire::kRunBytes + contents),
                           .count = static_cast<uint32_t>(runs_.size())};
  const Stopwatch pack_watch;
  const wire::Codec codec = codec_.next();
  if (codec != wire::Codec::kNone && contents > 0 && pack(codec, parts_, contents, packed_)) {
    header.codec = codec;
    header.length = static_cast<uint32_t>(runs_.size() * wire::kRunBytes + packed_.size());
    parts_.assign(1, packed_);
  }
  const double pack_ms = pack_watch.ms();
  const Stopwatch send_watch;
  head_.resize(wire::kFrameHeaderBytes);
  wire::encode_frame_header(header, head_.data());
  wire::encode_page_runs(runs_, head_);
  parts_.insert(parts_.begin(), head_);
  if (limit != nullptr) limit->take(wire::kFrameHeaderBytes + header.length);
  TRY(connection_.send(parts_));
  codec_.sent({.bytes = contents, .pack_ms = pack_ms, .send_ms = send_watch.ms()});
  if (!may_sync_ || !codec_.wants_sync()) return {};
  const Stopwatch sync_watch;
  TRY(sync());
  codec_.synced(sync_watch.ms());
  return {};
}

Result<> PageFrameSender::sync() {
  TRY(connection_.send_frame({.type = wire::FrameType::kSync}));
  TRY_ASSIGN(const wire::FrameHeader answer, connection_.receive_header());
  if (answer.type != wire::FrameType::kSync) return fail("the target answered something odd");
  return {};
}

Result<std::vector<wire::PageRun>> PageFrameReceiver::runs(const wire::FrameHeader& header) {
  buffer_.resize(size_t{header.count} * wire::kRunBytes);
  TRY(connection_.receive_exact(buffer_.data(), buffer_.size()));
  TRY_ASSIGN(auto runs, wire::decode_page_runs(buffer_, header.count));
  const size_t contents = wire::content_pages(runs) * kPageBytes;
  const size_t packed = header.length - buffer_.size();  // decode_frame_header has seen to it that it is the larger
  if (header.codec == wire::Codec::kNone ? packed != contents : packed == 0 || packed >= contents)
    return fail("a frame of another length than its pages");
  return runs;
}

Result<std::span<const std::byte>> PageFrameReceiver::contents(const wire::FrameHeader& header,
                                                               std::span<const wire::PageRun> runs) {
  buffer_.resize(wire::content_pages(runs) * kPageBytes);
  const auto bytes = std::as_writable_bytes(std::span(buffer_));
  if (header.codec == wire::Codec::kNone) {
    TRY(connection_.receive_exact(buffer_.data(), buffer_.size()));
    return bytes;
  }
  packed_.resize(header.length - size_t{header.count} * wire::kRunBytes);
  TRY(connection_.receive_exact(packed_.data(), packed_.size()));
  TRY(unpack(header.codec, packed_, bytes));
  return bytes;
}

Result<> PageFrameReceiver::contents_to(std::span<const std::span<std::byte>> parts) {
  for (const std::span<std::byte>& part : parts) TRY(connection_.receive_exact(part.data(), part.size()));
  return {};
}

}  // namespace godwit
