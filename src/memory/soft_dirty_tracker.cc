#include "memory/soft_dirty_tracker.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/file.h"
#include "memory/page_set.h"

namespace godwit {

namespace {

// Frames are told apart up to 8 TiB of memory; beyond that two of them may look the same.
uint32_t note_of(PagemapEntry entry) { return static_cast<uint32_t>(entry.frame() << 1) | (entry.swapped() ? 1 : 0); }

}  // namespace

void FrameNotes::add(RemoteAddr page, PagemapEntry entry) {
  if (runs_.empty() || runs_.back().start + runs_.back().pages * kPageBytes != page)
    runs_.push_back({page, notes_.size(), 0});
  ++runs_.back().pages;
  notes_.push_back(note_of(entry));
}

bool FrameNotes::had(RemoteAddr page, PagemapEntry entry) {
  while (at_ < runs_.size() && runs_[at_].start + runs_[at_].pages * kPageBytes <= page) ++at_;
  if (at_ == runs_.size() || page < runs_[at_].start) return false;
  return notes_[runs_[at_].first + (page - runs_[at_].start) / kPageBytes] == note_of(entry);
}

PageRanges FrameNotes::pages() const {
  PageRanges ranges;
  for (const Run& run : runs_) ranges.push_back({run.start, run.pages});
  return ranges;
}

Result<std::unique_ptr<WriteTracker>> SoftDirtyTracker::attach(pid_t pid) {
  if (zero_page_frame() == 0) return fail("page frames are not shown to this process");
  TRY(Pagemap::open(pid));
  return std::unique_ptr<WriteTracker>(new SoftDirtyTracker(pid));
}

// The address space is looked up again each time. After an exec it is another one, all of it with the bit.
Result<PageRanges> SoftDirtyTracker::take_written(const std::vector<Mapping>& owned) {
  FrameNotes now;
  TRY_ASSIGN(PageRanges written, look(owned, now));
  TRY(clear());
  before_ = std::move(now);
  return written;
}

Result<PageRanges> SoftDirtyTracker::find_written(const std::vector<Mapping>& owned) {
  FrameNotes now;
  return look(owned, now);
}

Result<PageRanges> SoftDirtyTracker::look(const std::vector<Mapping>& owned, FrameNotes& now) {
  TRY_ASSIGN(const Pagemap pagemap, Pagemap::open(pid_));
  before_.rewind();
  PageRanges written;
  for (const Mapping& mapping : owned)
    TRY(pagemap.read(mapping.start, mapping.end, [&](RemoteAddr first, std::span<const PagemapEntry> entries) {
      for (size_t i = 0; i < entries.size(); ++i) {
        if (!entries[i].has_content()) continue;
        const RemoteAddr page = first + i * kPageBytes;
        if (entries[i].soft_dirty() || !before_.had(page, entries[i])) append(written, {page, 1});
        now.add(page, entries[i]);
      }
    }));
  populated_ = now.pages();
  return written;
}

Result<> SoftDirtyTracker::clear() const {
  TRY_ASSIGN(const ScopedFd fd, open_file("/proc/" + std::to_string(pid_) + "/clear_refs", O_WRONLY));
  if (::write(fd.get(), "4", 1) != 1) return fail_errno("writing /proc/PID/clear_refs");
  return {};
}

}  // namespace godwit
