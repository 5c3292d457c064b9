#include "migration/page_answering.h"

#include <poll.h>

#include <algorithm>

#include "kernel/pidfd.h"

namespace godwit {

namespace {

// The target asks when it needs something; it may be silent for as long as the container runs.
constexpr std::chrono::hours kRequestsMayPauseFor{24 * 365};

// A request for more is for what nobody waits for.
constexpr uint64_t kUrgentPagesMax = 64;

bool has_ended(int pidfd) {
  pollfd item{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&item, 1, 0) != 0;
}

}  // namespace

PageAnswering::PageAnswering(std::unique_ptr<DataConnection> connection, const std::map<SpaceId, pid_t>& processes,
                             std::shared_ptr<RateLimit> limit)
    : connection_(std::move(connection)),
      limit_(std::move(limit)),
      frames_(*connection_, CodecChoice(wire::Codec::kNone)) {
  connection_->set_idle_limit(kRequestsMayPauseFor);
  for (const auto& [space, pid] : processes)
    if (auto pidfd = open_pidfd(pid)) processes_[space] = {pid, std::move(*pidfd)};
  thread_ = std::jthread([this] {
    auto answered = answer();
    std::lock_guard lock(mutex_);
    failure_ = answered.error();
  });
}

PageAnswering::~PageAnswering() { cancel(); }

void PageAnswering::cancel() {
  limit_->cancel();
  connection_->cancel();
}

void PageAnswering::end() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

// Until the link is cut.
Result<> PageAnswering::answer() {
  std::string payload;
  for (;;) {
    TRY_ASSIGN(const wire::FrameHeader header, connection_->receive_frame(payload));
    if (header.type != wire::FrameType::kPageRequest) return fail("the target sent something odd");
    TRY_ASSIGN(const auto runs, wire::decode_page_runs(payload, header.count, false));
    TRY(answer_one(header, runs));
  }
}

Result<> PageAnswering::answer_one(const wire::FrameHeader& header, std::span<const wire::PageRun> runs) {
  const auto process = processes_.find(header.index);
  if (process == processes_.end()) return fail("the target asks for memory of a process that there is not");
  uint64_t pages = 0;
  for (const wire::PageRun& run : runs) pages += run.range.pages;
  for (const wire::PageRun& run : runs) {
    for (PageRange rest = run.range; rest.pages > 0;) {
      const PageRange part{rest.start, std::min<uint64_t>(rest.pages, wire::kPagesPerFrame)};
      if (pages <= kUrgentPagesMax)
        limit_->take_at_once(part.bytes());
      else
        limit_->take(part.bytes());
      TRY(send(header.index, process->second, part));
      rest = {part.end(), rest.pages - part.pages};
    }
  }
  return {};
}

// The memory of a process that has ended is not zero, it is lost.
Result<> PageAnswering::send(SpaceId space, const Process& process, const PageRange& pages) {
  using Unreadable = PageFrameSender::Unreadable;
  PageRanges unread, none;
  TRY_ASSIGN(PageCounts sent, frames_.send(space, process.pid, {pages}, nullptr, Unreadable::kLeaveOut, unread));
  if (!unread.empty()) {
    if (has_ended(process.pidfd.get())) return fail("a process of the frozen copy has ended");
    TRY_ASSIGN(const PageCounts more, frames_.send(space, process.pid, unread, nullptr, Unreadable::kSendAsZero, none));
    sent += more;
  }
  std::lock_guard lock(mutex_);
  counts_ += sent;
  return {};
}

PageCounts PageAnswering::counts() const {
  std::lock_guard lock(mutex_);
  PageCounts counts = counts_;
  counts.bytes = connection_->bytes_sent();
  return counts;
}

std::optional<Error> PageAnswering::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace godwit
