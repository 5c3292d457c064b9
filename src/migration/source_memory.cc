#include "migration/source_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "kernel/proc.h"
#include "memory/page_set.h"
#include "runtime/lens_files.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// As much goes while CRIU works, so rounds would only cost time (auto): 4 MiB made no difference to the downtime, 16
// MiB 25 ms and 30 MiB 60 ms, on two processors and a link that is not the limit.
constexpr uint64_t kTooSmallForRounds = uint64_t{4} << 20;
constexpr uint32_t kStreamsMax = 16;
constexpr double kDowntimeMsDefault = 50;
constexpr uint32_t kRoundsDefault = 30;
constexpr auto kLookForCancel = 20ms;
// What the container writes in fewer ms than these is not worth a round of its own.
constexpr double kWaitWorthRounds = 20;
// Pages that hybrid owes and that are sent in fewer ms than these are there before CRIU has restored the rest (50 ms
// and more). To let them follow saves nothing, and the container's first requests would stop at each of them.
constexpr double kSentBesideRestore = 10;
// Rounds of fewer pages than this are not worth the pause before them.
constexpr uint64_t kPagesOfLastRoundMin = 256;

Tracking asked_tracking(control::Tracking tracking) {
  switch (tracking) {
    case control::UFFD_WP:
      return Tracking::kUffdWp;
    case control::SOFT_DIRTY:
      return Tracking::kSoftDirty;
    default:
      return Tracking::kNone;
  }
}

CodecChoice asked_codec(control::Compression compression) {
  if (compression == control::COMPRESSION_NONE) return CodecChoice(wire::Codec::kNone);
  if (compression == control::LZ4) return CodecChoice(wire::Codec::kLz4);
  return compression == control::ZSTD ? CodecChoice(wire::Codec::kZstd) : CodecChoice();
}

uint64_t pages_of(const std::vector<SpacePages>& spaces) {
  uint64_t pages = 0;
  for (const SpacePages& space : spaces) pages += count_pages(space.pages);
  return pages;
}

}  // namespace

Result<std::unique_ptr<SourceMemory>> SourceMemory::create(Settings settings) {
  std::unique_ptr<SourceMemory> memory(new SourceMemory(std::move(settings)));
  const control::MigrateRequest& options = memory->settings_.options;
  memory->mode_ = options.mode();
  if (options.mode() == control::AUTO)
    memory->mode_ = memory->settings_.memory_bytes < kTooSmallForRounds ? control::COLD : control::HYBRID;
  memory->streams_ = std::clamp<uint32_t>(options.streams(), 1, kStreamsMax);
  if (!memory->has_rounds()) return memory;
  memory->asked_for_rounds_ = true;

  if (options.tracking() == control::TRACKING_AUTO) {
    memory->tracking_ = probe_tracking();
  } else {
    memory->tracking_ = asked_tracking(options.tracking());
    if (memory->tracking_ != Tracking::kNone && !can_track(memory->tracking_))
      return fail("this kernel cannot find written memory by " + std::string(tracking_name(memory->tracking_)));
  }
  if (memory->tracking_ != Tracking::kNone) return memory;
  memory->mode_ = memory->mode_ == control::HYBRID ? control::POSTCOPY : control::COLD;
  memory->notes_.emplace_back("this kernel cannot tell which memory is written, so there were no rounds");
  return memory;
}

std::string SourceMemory::tracking_text(control::Tracking asked) {
  if (asked == control::TRACKING_AUTO) return tracking_name(probe_tracking());
  const Tracking tracking = asked_tracking(asked);
  const bool fit = tracking == Tracking::kNone || can_track(tracking);
  return tracking_name(tracking) + std::string(fit ? " (memory.tracking)" : ", which this kernel cannot do");
}

SourceMemory::~SourceMemory() { give_up(); }

void SourceMemory::use(PageSending::Settings settings) {
  if (!settings.limit) settings.limit = std::make_shared<RateLimit>(settings_.options.bandwidth_max());
  settings.codec = asked_codec(settings_.options.compression());
  sending_ = std::make_unique<PageSending>(std::move(settings));
}

// --- Rounds -----------------------------------------------------------------------------------------------------

Result<> SourceMemory::run_rounds(const std::function<double()>& await_turn) {
  auto processes = [cgroup = settings_.cgroup] { return proc::processes_in_cgroup(cgroup); };
  auto open = [this](pid_t pid, Deadline deadline) { return settings_.attacher->open_userfaultfd_of(pid, deadline); };
  TRY_ASSIGN(memory_, ContainerMemory::create({.processes = processes,
                                               .method = tracking_,
                                               .open_userfaultfd = open,
                                               .hold_still = [this] { return settings_.attacher->hold(); },
                                               .let_go = [this] { return settings_.attacher->let_go(); }}));
  if (!has_rounds()) return memory_->learn();

  const control::MigrateRequest& options = settings_.options;
  StopRule rule({.downtime_max_ms = options.downtime_max_ms() > 0 ? options.downtime_max_ms() : kDowntimeMsDefault,
                 .rounds_max = options.rounds_max() > 0 ? options.rounds_max() : kRoundsDefault,
                 .ms_max = options.timeout_s() * 1000});
  const Stopwatch total;
  if (mode_ == control::PRECOPY && options.throttling() == control::THROTTLE)
    throttle_.watch(settings_.first_process, *settings_.attacher);
  uint64_t pages = 0;
  auto scanned_at = Clock::now();
  TRY_ASSIGN(auto spaces, scan(pages));
  uint32_t rounds_after_turn = 0;
  for (;;) {
    RoundFacts facts;
    const PageCounts before = counts();
    TRY(send_round(spaces, facts));
    const auto pause = std::chrono::duration<double, std::milli>(pause_between_scans_ms(pages));
    TRY(pause_until(scanned_at + std::chrono::duration_cast<Clock::duration>(pause)));
    const auto scanned_before = std::exchange(scanned_at, Clock::now());
    TRY_ASSIGN(spaces, scan(pages));
    facts.pages_dirty = pages;
    const auto verdict = rule.after_round(facts, total.ms());
    pages_per_ms_ = rule.pages_per_ms();
    PageCounts sent = counts();
    sent.pages -= before.pages;
    sent.pages_zero -= before.pages_zero;
    sent.bytes -= before.bytes;
    note_round(facts, sent, ms_between(scanned_before, scanned_at), rule.estimated_downtime_ms());
    if (rounds_after_turn > 0) {
      if (--rounds_after_turn == 0) break;
      continue;
    }
    TRY_ASSIGN(const bool more, go_on(rule, verdict));
    if (more) continue;
    if (await_turn() < kWaitWorthRounds) break;
    rounds_after_turn = 2;  // what was known to be written, then what has been written while it waited
  }
  // Flags that madvise has changed since they were learnt: what CRIU gets to read in place of smaps.
  TRY(memory_->learn());
  // What the last scan found goes while the container still runs, unless it is too much to be worth it.
  if (rounds_.back().estimated_downtime_ms() <= 2 * kDowntimeMsDefault && pages >= kPagesOfLastRoundMin) {
    RoundFacts facts;
    return send_round(spaces, facts);
  }
  for (const SpacePages& space : spaces) pending_[space.space] = space.pages;
  return {};
}

Result<std::vector<SpacePages>> SourceMemory::scan(uint64_t& pages) {
  TRY_ASSIGN(auto scans, memory_->scan_running());
  std::vector<SpacePages> spaces;
  for (SpaceScan& scan : scans) spaces.push_back({scan.space, scan.pid, std::move(scan.written)});
  pages = pages_of(spaces);
  return spaces;
}

Result<> SourceMemory::send_round(const std::vector<SpacePages>& pages, RoundFacts& facts) {
  const Stopwatch watch;
  TRY_ASSIGN(const PageCounts sent, sending_->send_round(pages));
  facts.pages = sent.pages + sent.pages_zero;
  facts.bytes = sent.bytes;
  facts.ms = watch.ms();
  return {};
}

Result<> SourceMemory::pause_until(Clock::time_point when) {
  while (!cancelled() && Clock::now() < when)
    std::this_thread::sleep_for(std::min<Clock::duration>(when - Clock::now(), kLookForCancel));
  if (cancelled()) return fail(Error("cancelled", ECANCELED));
  return {};
}

// The policy of the mode. False: it is time for the switch-over.
Result<bool> SourceMemory::go_on(StopRule& rule, StopRule::Verdict verdict) {
  switch (verdict) {
    case StopRule::Verdict::kNextRound:
      return true;
    case StopRule::Verdict::kSwitchOver:
      return false;
    case StopRule::Verdict::kNoHelp:
      if (mode_ == control::HYBRID) return false;
      if (throttle_.step()) rule.try_again();
      return true;
    case StopRule::Verdict::kLimit:
      if (mode_ == control::HYBRID || settings_.options.at_limit() == control::TAKE_DOWNTIME) return false;
      return fail(
          fmt::format("the container writes memory faster than it can be sent: after {} rounds an estimated "
                      "{:.0f} ms of downtime are left (mode hybrid does not depend on this; --at-limit "
                      "take-downtime accepts it)",
                      rounds_.size(), rule.estimated_downtime_ms()));
  }
  return false;
}

void SourceMemory::note_round(const RoundFacts& facts, const PageCounts& sent, double interval_ms,
                              double estimated_ms) {
  control::Round round;
  round.set_pages(sent.pages);
  round.set_pages_zero(sent.pages_zero);
  round.set_bytes(sent.bytes);
  round.set_ms(facts.ms);
  round.set_dirty_pages_per_second(static_cast<double>(facts.pages_dirty) * 1000 / std::max(interval_ms, 0.001));
  round.set_estimated_downtime_ms(estimated_ms);
  rounds_.push_back(round);
  settings_.listener->round_ended(static_cast<uint32_t>(rounds_.size()), round);
}

// --- The freeze -------------------------------------------------------------------------------------------------

Result<> SourceMemory::freeze(const std::filesystem::path& lens) {
  const Stopwatch watch;
  TRY_ASSIGN(auto scans, memory_->scan_frozen());
  scan_ms_ = watch.ms();
  throttle_.end();
  std::vector<FrozenPages> spaces;
  uint64_t untracked = 0, pages_owed = 0;
  for (FrozenSpace& scan : scans) {
    TRY(write_lens(lens, scan.pid, scan.owned, scan.smaps, scan.unguarded));
    if (has_rounds() && !scan.tracked) ++untracked;
    PageRanges owed = unite(std::move(scan.written), sending_->unsent(scan.space));
    if (auto left = pending_.find(scan.space); left != pending_.end()) owed = unite(std::move(owed), left->second);
    owed = intersect(owed, scan.populated);
    pages_owed += count_pages(owed);
    if (!scan.huge_before.empty()) huge_[scan.space] = std::move(scan.huge_before);
    spaces.push_back({scan.space, scan.pid, std::move(scan.populated), std::move(owed), std::move(scan.read_first)});
  }
  if (untracked > 0)
    notes_.push_back(fmt::format("{} of {} processes could not be tracked and were sent whole at the freeze", untracked,
                                 spaces.size()));
  awaits_pages_ = must_await(pages_owed);
  return sending_->begin_owed(spaces, awaits_pages_);
}

bool SourceMemory::must_await(uint64_t pages_owed) const {
  if (mode_ == control::HYBRID) return static_cast<double>(pages_owed) <= kSentBesideRestore * pages_per_ms_;
  return mode_ == control::COLD || mode_ == control::PRECOPY;
}

void SourceMemory::give_up() {
  throttle_.end();
  if (sending_) sending_->end();
  if (memory_) memory_->detach();
  memory_.reset();
}

void SourceMemory::end() {
  if (sending_) sending_->end();
}

void SourceMemory::cancel() {
  if (sending_) sending_->cancel();
}

void SourceMemory::describe(control::Report& report) const {
  report.set_mode(mode_);
  report.set_tracking(asked_for_rounds_ ? tracking_name(tracking_) : "");
  for (const control::Round& round : rounds_) *report.add_rounds() = round;
  const PageCounts all = counts();
  report.set_pages_sent(all.pages);
  report.set_pages_zero(all.pages_zero);
  report.set_throttle_percent_max(throttle_.percent_max());
  (*report.mutable_figures())["freeze_scan_ms"] = scan_ms_;
  (*report.mutable_figures())["pages_owed"] = static_cast<double>(owed_pages());
}

}  // namespace godwit
