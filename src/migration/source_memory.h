// The memory of a migrating container, on the source: which mode it travels in, rounds while it runs, what is owed at
// the freeze, and what follows it. The order in which this happens among the other steps is source_migration.cc's.
//
//   mode      rounds   commit waits for all pages   when rounds do not help
//   cold      none     yes
//   precopy   yes      yes                          throttle the container; at the limit roll back, or go on
//   postcopy  none     no
//   hybrid    yes      if rounds have left little   go on: the rest follows the container
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control.pb.h"
#include "memory/container_memory.h"
#include "memory/stop_rule.h"
#include "migration/cpu_throttle.h"
#include "migration/page_sending.h"
#include "migration/progress.h"
#include "tracee/attacher.h"

namespace godwit {

class SourceMemory {
 public:
  struct Settings {
    control::MigrateRequest options;
    std::filesystem::path cgroup;  // whose processes it is about, in the freezer hierarchy
    Attacher* attacher = nullptr;  // of that cgroup; none: there are no rounds
    pid_t first_process = 0;
    uint64_t memory_bytes = 0;  // resident, before
    ProgressListener* listener = nullptr;
    const std::atomic<bool>* cancelled = nullptr;
  };
  // Decides on the mode; an error if what is asked for cannot be had on this kernel. Nothing is touched.
  static Result<std::unique_ptr<SourceMemory>> create(Settings settings);
  ~SourceMemory();

  // Of the method that ASKED, the host's configuration, comes to, for `godwit check`.
  static std::string tracking_text(control::Tracking asked);

  control::Mode mode() const { return mode_; }
  uint32_t streams() const { return streams_; }
  // Of the commit, for all pages: known from freeze() on.
  bool awaits_pages() const { return awaits_pages_; }
  // What the user should know about the choice; may be empty.
  const std::vector<std::string>& notes() const { return notes_; }

  // SETTINGS's codec, and its limit if there is none, are filled in here.
  void use(PageSending::Settings settings);
  // The container runs. Returns when the switch-over should come. AWAIT_TURN is called when it could: the switch-overs
  // of others may come first. It returns how many ms that has taken.
  Result<> run_rounds(const std::function<double()>& await_turn);
  // Of the rounds so far.
  double bytes_per_ms() const { return pages_per_ms_ * kPageBytes; }
  // The container is frozen. Tells CRIU, by files in LENS, what to leave out, and begins to send what is owed.
  Result<> freeze(const std::filesystem::path& lens);
  // Undo of everything: the processes as if nothing had happened, links cut. May be called at any time after use().
  void give_up();
  // Processes here whose huge pages tracking has split: to be collapsed again if the container stays.
  HugeRanges split_huge_pages() const { return memory_ ? memory_->huge_before() : HugeRanges(); }
  // The container is frozen: what the target is to put together again.
  const std::map<SpaceId, PageRanges>& huge_pages() const { return huge_; }
  // The container runs on the target.
  void switched_over() { sending_->switched_over(); }
  // The link is back: CONNECTION, of channel streams() + 1, is for all that the target still lacks.
  void resume(std::unique_ptr<DataConnection> connection) { sending_->resume(std::move(connection)); }
  // The target has all.
  void end();
  void cancel();

  std::optional<Error> failure() const { return sending_ ? sending_->failure() : std::nullopt; }
  uint64_t bytes_on_wire() const { return sending_ ? sending_->bytes_on_wire() : 0; }
  PageCounts counts() const { return sending_ ? sending_->counts() : PageCounts(); }
  uint64_t owed_pages() const { return sending_ ? sending_->owed_total() : 0; }
  // Rounds, method, figures of the freeze.
  void describe(control::Report& report) const;

 private:
  explicit SourceMemory(Settings settings) : settings_(std::move(settings)) {}
  bool has_rounds() const { return mode_ == control::PRECOPY || mode_ == control::HYBRID; }
  bool cancelled() const { return *settings_.cancelled; }
  Result<std::vector<SpacePages>> scan(uint64_t& pages);
  Result<> send_round(const std::vector<SpacePages>& pages, RoundFacts& facts);
  Result<> pause_until(Clock::time_point when);
  bool must_await(uint64_t pages_owed) const;
  Result<bool> go_on(StopRule& rule, StopRule::Verdict verdict);
  void note_round(const RoundFacts& facts, const PageCounts& sent, double interval_ms, double estimated_ms);

  Settings settings_;
  control::Mode mode_ = control::COLD;
  uint32_t streams_ = 1;
  Tracking tracking_ = Tracking::kNone;
  bool asked_for_rounds_ = false;
  std::vector<std::string> notes_;
  std::unique_ptr<ContainerMemory> memory_;
  std::unique_ptr<PageSending> sending_;
  CpuThrottle throttle_;
  std::map<SpaceId, PageRanges> pending_;  // scanned, not sent
  std::vector<control::Round> rounds_;
  double pages_per_ms_ = 0;  // of the rounds, in the end
  bool awaits_pages_ = false;
  std::map<SpaceId, PageRanges> huge_;  // of the freeze
  double scan_ms_ = 0;                  // of the freeze
};

}  // namespace godwit
