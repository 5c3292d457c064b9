#include "memory/pager_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "base/log.h"
#include "memory/region_bits.h"

namespace godwit {

namespace {

constexpr uint64_t kMagic = 0x31'67'6f'6c'72'65'67'70;  // "pgerlog1"
constexpr uint64_t kHeadBytes = kPageBytes;
// Maps of a terabyte take 48 MiB, a step 40 bytes: six million of them. What goes on for longer cannot be taken over.
constexpr uint64_t kLogBytesMax = uint64_t{256} << 20;
constexpr size_t kOwnerBytesMax = 4096;

enum : uint32_t { kOwner = 100, kMap = 101 };

struct Line {
  uint32_t kind = 0;
  uint32_t number = 0;  // kMap: the space
  uint32_t to = 0;      // kOwner: bytes that follow; kMap: regions that follow
  uint64_t start = 0;
  uint64_t pages = 0;
  uint64_t place = 0;
};

struct RegionLine {
  uint64_t start = 0;
  RegionBits bits;
};
static_assert(sizeof(RegionLine) == 8 + kRegionPages / 8);

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Takes what comes next off TEXT.
template <typename T>
bool take(std::string_view& text, T& value) {
  if (text.size() < sizeof value) return false;
  std::memcpy(&value, text.data(), sizeof value);
  text.remove_prefix(sizeof value);
  return true;
}

std::string line_of(const PagerStep& step) {
  Line line;
  std::memset(&line, 0, sizeof line);  // between its members as well
  line.kind = static_cast<uint32_t>(step.kind);
  line.number = static_cast<uint32_t>(step.number);
  line.to = step.to;
  line.start = step.pages.start.value;
  line.pages = step.pages.pages;
  line.place = step.place.value;
  return std::string(bytes_of(line));
}

bool sound(const PageRange& pages) {
  return pages.start.page_aligned() && pages.pages < (uint64_t{1} << 52) && pages.end() >= pages.start;
}

Result<std::string> read_lines(int file) {
  struct stat facts{};
  if (::fstat(file, &facts) != 0) return fail_errno("fstat");
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (size < kHeadBytes || size > kLogBytesMax) return fail("the pager's log has an odd length");
  std::string text(size - kHeadBytes, '\0');
  for (size_t done = 0; done < text.size();) {
    const ssize_t got = ::pread(file, text.data() + done, text.size() - done, static_cast<off_t>(kHeadBytes + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno("read the pager's log");
    done += static_cast<size_t>(got);
  }
  return text;
}

Result<> take_map(std::string_view& text, const Line& line, PagerHistory& history) {
  auto& regions = history.maps[line.number];
  for (uint32_t i = 0; i < line.to; ++i) {
    RegionLine region;
    if (!take(text, region)) return fail("the pager's log is cut short");
    const bool ordered = regions.empty() || regions.back().start.value < region.start;
    if (region.start % kRegionBytes != 0 || !ordered) return fail("the pager's log has an odd map");
    regions.push_back({.start = {region.start}, .present = region.bits, .owed = region.bits});
  }
  return {};
}

}  // namespace

struct PagerLog::Head {
  uint64_t magic;
  std::atomic<uint32_t> reading;
  std::atomic<uint32_t> useless;
  std::atomic<int32_t> number;    // what is being read
  std::atomic<uint32_t> written;  // of the events
  alignas(64) std::byte events[Userfaultfd::kReadBytes];
};

Result<std::unique_ptr<PagerLog>> PagerLog::create(std::string_view owner) {
  if (owner.size() > kOwnerBytesMax) return fail("too much to keep for a successor");
  ScopedFd file(::memfd_create("godwit-pager", MFD_CLOEXEC));
  if (!file) return fail_errno("memfd_create");
  if (::ftruncate(file.get(), kHeadBytes) != 0) return fail_errno("ftruncate");
  TRY_ASSIGN(auto log, attach(std::move(file)));
  log->head_->magic = kMagic;
  log->append(bytes_of(Line{.kind = kOwner, .to = static_cast<uint32_t>(owner.size())}));
  log->append(owner);
  return log;
}

Result<std::unique_ptr<PagerLog>> PagerLog::reopen(ScopedFd file) {
  struct stat facts{};
  if (::fstat(file.get(), &facts) != 0) return fail_errno("fstat");
  if (!S_ISREG(facts.st_mode) || facts.st_size < static_cast<off_t>(kHeadBytes)) return fail("this is no pager's log");
  TRY_ASSIGN(auto log, attach(std::move(file)));
  if (log->head_->magic != kMagic) return fail("this is no pager's log");
  log->bytes_ = static_cast<uint64_t>(facts.st_size) - kHeadBytes;
  return log;
}

Result<std::unique_ptr<PagerLog>> PagerLog::attach(ScopedFd file) {
  if (::fcntl(file.get(), F_SETFL, O_APPEND) != 0) return fail_errno("F_SETFL");
  void* head = ::mmap(nullptr, kHeadBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (head == MAP_FAILED) return fail_errno("mmap");
  return std::unique_ptr<PagerLog>(new PagerLog(std::move(file), static_cast<Head*>(head)));
}

PagerLog::~PagerLog() { ::munmap(head_, kHeadBytes); }

// --- Writing ------------------------------------------------------------------------------------------------------

void PagerLog::append(std::string_view bytes) {
  if (head_->useless != 0) return;
  bytes_ += bytes.size();
  const bool fits = kHeadBytes + bytes_ <= kLogBytesMax;
  if (fits && ::write(file_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) return;
  head_->useless = 1;
  log::warn("the pager's log is full: if this agent is killed, nobody can take its place");
}

void PagerLog::map(SpaceId space, std::span<const RegionMap> regions) {
  std::string text(bytes_of(Line{.kind = kMap, .number = space, .to = static_cast<uint32_t>(regions.size())}));
  for (const RegionMap& region : regions) text += bytes_of(RegionLine{region.start.value, region.present});
  append(text);
}

void PagerLog::step(const PagerStep& step) { append(line_of(step)); }

void* PagerLog::begin_reading(int number) {
  Userfaultfd::clear(head_->events);
  head_->number = number;
  head_->written = 0;
  head_->reading = 1;
  return head_->events;
}

void PagerLog::have_written(size_t events) { head_->written = static_cast<uint32_t>(events); }

void PagerLog::end_reading() { head_->reading = 0; }

PagerStep step_of(int number, const UserfaultEvent& event) {
  using Kind = UserfaultEvent::Kind;
  PagerStep step{.kind = PagerStep::Kind::kMove, .number = number, .to = 0, .pages = event.range, .place = event.to};
  if (event.kind == Kind::kRemove) step.kind = PagerStep::Kind::kRemove;
  if (event.kind == Kind::kUnmap) step.kind = PagerStep::Kind::kUnmap;
  if (event.kind == Kind::kFork)
    step = {.kind = PagerStep::Kind::kFork, .number = number, .to = 0, .pages = {}, .place = {}};
  return step;
}

// --- Reading ------------------------------------------------------------------------------------------------------

// Killed between a line and its being counted, the writer has left it as the last one.
Result<> PagerLog::finish_reading() {
  if (head_->reading == 0 || head_->useless != 0) return {};
  const auto events = Userfaultfd::left_in(head_->events);
  TRY_ASSIGN(const std::string lines, read_lines(file_.get()));
  for (size_t i = head_->written; i < events.size(); ++i) {
    if (events[i].kind == UserfaultEvent::Kind::kFork)
      return fail("the pager was killed while it was told of a new process of the container");
    const PagerStep next = step_of(head_->number, events[i]);
    const bool is_last = i == head_->written && std::string_view(lines).ends_with(line_of(next));
    if (events[i].kind != UserfaultEvent::Kind::kFault && !is_last) step(next);
    have_written(i + 1);
  }
  end_reading();
  return {};
}

Result<PagerHistory> PagerLog::history() const {
  if (head_->useless != 0) return fail("more has happened than the pager's log can hold");
  if (head_->reading != 0) return fail("the pager was killed while it was told what the container does to its memory");
  TRY_ASSIGN(const std::string all, read_lines(file_.get()));
  std::string_view text = all;
  PagerHistory history;
  for (Line line; !text.empty();) {
    if (!take(text, line)) return fail("the pager's log is cut short");
    if (line.kind == kOwner) {
      if (line.to > kOwnerBytesMax || line.to > text.size()) return fail("the pager's log is cut short");
      history.owner = text.substr(0, line.to);
      text.remove_prefix(line.to);
    } else if (line.kind == kMap) {
      TRY(take_map(text, line, history));
    } else if (line.kind >= static_cast<uint32_t>(PagerStep::Kind::kSpace) &&
               line.kind <= static_cast<uint32_t>(PagerStep::Kind::kClose)) {
      const PagerStep step{.kind = static_cast<PagerStep::Kind>(line.kind),
                           .number = static_cast<int>(line.number),
                           .to = line.to,
                           .pages = {{line.start}, line.pages},
                           .place = {line.place}};
      if (step.number < 0 || !sound(step.pages) || !step.place.page_aligned())
        return fail("the pager's log has an odd line");
      history.steps.push_back(step);
    } else {
      return fail("the pager's log has an odd line");
    }
  }
  return history;
}

}  // namespace godwit
