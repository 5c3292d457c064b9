#include "memory/still_memory.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "memory/page_set.h"

namespace godwit {

namespace {

// 0.2 to 0.5 ms: less is not worth waking a thread.
constexpr uint64_t kPieceBytes = uint64_t{128} << 20;
// The other processors have the rest of the switch-over to do.
constexpr size_t kThreadsMax = 4;

struct Piece {
  RemoteAddr start, end;
  StillMemory found;
  Result<> verdict;
};

std::vector<Piece> pieces_of(const std::vector<Mapping>& owned) {
  std::vector<Piece> pieces;
  for (const Mapping& mapping : owned)
    for (RemoteAddr at = mapping.start; at < mapping.end;) {
      const RemoteAddr end = std::min(mapping.end, at + kPieceBytes);
      pieces.push_back({at, end, {}, {}});
      at = end;
    }
  return pieces;
}

// What a scan for all but protected pages tells of a piece; pages that it leaves out are protected ones with content.
class Telling {
 public:
  explicit Telling(Piece& piece) : found_(piece.found), untold_(piece.start) {}
  void tell(const PageRange& pages, uint64_t categories) {
    pass_by(pages.start);
    untold_ = pages.end();
    if ((categories & kPageGuard) != 0) {
      found_.guarded = true;
    } else if ((categories & kPageZero) == 0 && (categories & (kPagePresent | kPageSwapped)) != 0) {
      append(found_.populated, pages);
      if ((categories & kPageWritten) != 0) append(found_.written, pages);
    }
  }
  void pass_by(RemoteAddr end) {
    if (untold_ < end) append(found_.populated, {untold_, (end - untold_) / kPageBytes});
  }

 private:
  StillMemory& found_;
  RemoteAddr untold_;
};

Result<> look_at(const PagemapScan& scan, Piece& piece) {
  const uint64_t guard = scan.guard_if_known();
  const PagemapScan::Query query{.any_of = kPageWritten | kPageZero | guard, .or_not_in = kPagePresent};
  Telling telling(piece);
  TRY(scan.scan(query, kPagePresent | kPageSwapped | kPageWritten | kPageZero | guard, piece.start, piece.end,
                [&](const PageRange& pages, uint64_t categories) { telling.tell(pages, categories); }));
  telling.pass_by(piece.end);
  return {};
}

void append_all(PageRanges& to, const PageRanges& ranges) { to.insert(to.end(), ranges.begin(), ranges.end()); }

}  // namespace

Result<StillMemory> look_at_still_memory(const PagemapScan& scan, const std::vector<Mapping>& owned) {
  std::vector<Piece> pieces = pieces_of(owned);
  std::atomic<size_t> next = 0;
  auto look = [&] {
    for (size_t i; (i = next++) < pieces.size();) pieces[i].verdict = look_at(scan, pieces[i]);
  };
  uint64_t bytes = 0;
  for (const Mapping& mapping : owned) bytes += mapping.end - mapping.start;
  {
    std::vector<std::jthread> others;
    const size_t threads = std::min<size_t>({kThreadsMax, std::thread::hardware_concurrency(), bytes / kPieceBytes});
    for (size_t i = 1; i < threads; ++i) others.emplace_back(look);
    look();
  }
  StillMemory all;
  for (const Piece& piece : pieces) {
    TRY(piece.verdict);
    append_all(all.populated, piece.found.populated);
    append_all(all.written, piece.found.written);
    all.guarded |= piece.found.guarded;
  }
  return all;
}

}  // namespace godwit
