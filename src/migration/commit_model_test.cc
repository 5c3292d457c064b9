// The commit protocol, every interleaving of it: both sides as docs/design/commit.md describes them, deciding by
// commit_rules.h, with a kill, a stop of the host or a loss possible at every step. A state is everything both hosts
// and the network hold; all reachable ones are visited. Each rule of the protocol is then broken in turn, and a
// counter-example must be found: a model that accepts everything proves nothing.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "migration/commit_rules.h"

namespace godwit {
namespace {

enum class Broken {
  kNothing,
  kSendsCommitBeforeWritingIt,
  kRollsBackWhenCommitIsUnanswered,
  kThawsWhatMayHaveBeenCommitted,
  kRemovesWhileMemoryIsOwed,
  kReleasesBeforeWriting,
  kForgetsCommitEarly,
  kSaysAbortedAfterReboot,
  kSaysAbortedWithoutEvidence,
  kUndoesAfterRelease,
};

enum Journal : uint8_t { kNone, kPrepared, kFrozen, kCommitting, kCommitted };
enum Process : uint8_t { kDown, kMigrating, kAsking, kOver };
enum Copy : uint8_t { kAbsent, kRuns, kStill, kReleased };  // kStill: frozen, or restored and held
enum Answer : uint8_t { kSilence, kReplied, kFailed };      // to Commit, on its way

struct Side {
  Journal journal = kPrepared;
  Process process = kMigrating;
  Copy copy = kAbsent;
  bool same_boot = true;
  bool rebooted_ever = false;
  auto operator<=>(const Side&) const = default;
};

struct State {
  Side source{.copy = kRuns};
  Side target{};
  bool restored_said = false;  // the answer to SwitchOver has arrived
  bool commit_sent = false;    // by this source process
  bool commit_flies = false;   // in the network
  Answer answer = kSilence;    // likewise
  bool link = true;            // the control connection
  bool taken = true;           // taken.json on the target
  bool criu_log = false;       // it says that the tasks were killed
  bool target_ran = false;     // ever
  bool owed = false;           // pages; decided when the target runs
  bool ended = false;          // the container has ended by itself on the target, and was deleted
  auto operator<=>(const State&) const = default;
};

CommitState stored(Journal journal) { return static_cast<CommitState>(journal - 1); }

struct Step {
  std::string name;
  State next;
  bool fault = false;  // need not happen
};

class Model {
 public:
  explicit Model(Broken broken) : broken_(broken) {}

  // Visits everything; the first violation with the steps that lead to it, or empty.
  std::string explore() {
    std::vector<State> todo = {State{}};
    seen_[todo[0]] = {};
    for (size_t i = 0; i < todo.size(); ++i) {
      const State state = todo[i];
      const std::vector<Step> steps = next(state);
      if (std::string wrong = violation(state); !wrong.empty()) return wrong + trace(state);
      if (std::string wrong = stuck(state, steps); !wrong.empty()) return wrong + trace(state);
      for (const Step& step : steps)
        if (seen_.try_emplace(step.next, std::pair(state, step.name)).second) todo.push_back(step.next);
    }
    return "";
  }
  size_t states() const { return seen_.size(); }
  size_t frozen_for_operators() const { return frozen_; }

 private:
  bool is(Broken broken) const { return broken_ == broken; }

  static std::string violation(const State& s) {
    if (s.source.copy == kRuns && s.target.copy == kRuns) return "two copies run";
    if (s.source.copy == kRuns && s.target_ran) return "the source runs an old copy";
    if (s.source.copy == kAbsent && !s.source.rebooted_ever) {
      if (!s.target_ran) return "the source has removed the only copy";
      if (s.owed && !s.target.rebooted_ever) return "the source has removed memory that is owed";
    }
    if (s.target.copy == kAbsent && s.target_ran && !s.ended && !s.target.rebooted_ever)
      return "the target has removed what ran";
    return "";
  }

  // Nothing but faults can happen: then one copy runs, or what is left waits for a person.
  std::string stuck(const State& s, const std::vector<Step>& steps) {
    for (const Step& step : steps)
      if (!step.fault && step.next != s) return "";
    const bool runs = s.source.copy == kRuns || (s.target.copy == kRuns && !s.owed) || s.ended;
    if (runs) return "";
    if (s.source.rebooted_ever && (s.target.rebooted_ever || s.owed || !s.target_ran)) return "";  // lost with its host
    if (s.source.copy == kAbsent && s.target.rebooted_ever) return "";  // the same: violation() has what came before
    if (s.source.copy == kStill && (s.target.rebooted_ever || target_unknown(s))) return ++frozen_, "";
    return "it ends with no copy running";
  }
  static bool target_unknown(const State& s) { return s.target.journal == kCommitting && s.target.process == kOver; }

  std::vector<Step> next(const State& s) {
    steps_.clear();
    from_ = s;
    source_steps(s);
    source_recovery(s);
    target_steps(s);
    target_recovery(s);
    faults(s);
    return steps_;
  }
  void add(const std::string& name, const std::function<void(State&)>& change, bool fault = false) {
    State state = from_;
    change(state);
    if (state != from_) steps_.push_back({name, state, fault});
  }

  static void roll_back(State& s) {
    s.source.copy = s.source.same_boot ? kRuns : kAbsent;
    s.source.journal = kNone;
    s.source.process = kOver;
    s.link = false;
  }
  static void remove_source(State& s) {
    s.source.copy = kAbsent;
    s.source.journal = kNone;
    s.source.process = kOver;
    s.link = false;
  }

  void source_steps(const State& s) {
    if (s.source.process != kMigrating) return;
    const Journal journal = s.source.journal;
    if (journal == kPrepared)
      add("source freezes", [](State& n) { n.source.journal = kFrozen, n.source.copy = kStill; });
    if (journal <= kFrozen && !s.commit_sent) add("source gives up", roll_back, true);
    if (journal == kFrozen && s.link && s.target.process == kMigrating && s.target.copy == kStill)
      add("source hears that it is restored", [](State& n) { n.restored_said = true; });
    const bool may_commit = journal == kFrozen && s.restored_said && !s.commit_sent;
    auto send = [](State& n) { n.commit_sent = n.commit_flies = true; };
    if (is(Broken::kSendsCommitBeforeWritingIt)) {
      if (may_commit) add("source sends Commit", send);
      if (journal == kFrozen && s.commit_sent) add("source writes", [](State& n) { n.source.journal = kCommitting; });
    } else {
      if (may_commit) add("source writes committing", [](State& n) { n.source.journal = kCommitting; });
      if (journal == kCommitting && !s.commit_sent) add("source sends Commit", send);
    }
    if (!s.commit_sent || journal < kCommitting) {
      if (journal <= kFrozen && !s.link && !s.commit_sent) add("source notices the loss", roll_back);
      if (journal <= kFrozen && s.answer == kFailed) add("source hears that the target gave up", roll_back);
      if (journal == kCommitting && !s.link) add("Commit cannot be sent", [](State& n) { n.source.process = kAsking; });
      return;
    }
    if (s.answer == kFailed && s.link) add("source hears of the failure", roll_back);
    if (s.answer == kReplied && s.link)
      add("source hears that it runs", [](State& n) { n.source.journal = kCommitted, n.source.process = kAsking; });
    if (is(Broken::kRollsBackWhenCommitIsUnanswered)) {
      add("source gives up waiting", roll_back);
    } else {
      add("source gives up waiting and asks", [](State& n) { n.source.process = kAsking, n.link = false; });
    }
  }

  void source_recovery(const State& s) {
    if (s.source.process == kDown && s.source.journal != kNone) {
      const SourceStep step = is(Broken::kThawsWhatMayHaveBeenCommitted)
                                  ? SourceStep::kRollBack
                                  : source_after_restart(stored(s.source.journal), s.source.same_boot);
      if (step == SourceStep::kRollBack) add("source starts again and rolls back", roll_back);
      if (step == SourceStep::kAsk) add("source starts again and asks", [](State& n) { n.source.process = kAsking; });
    }
    if (s.source.process != kAsking) return;
    const Outcome outcome = ask_target(s);
    const bool complete = !s.owed || is(Broken::kRemovesWhileMemoryIsOwed);
    if (!s.source.same_boot) {
      if (lost_source_after_outcome(outcome) == SourceStep::kClose) add("source closes its record", remove_source);
      return;
    }
    const SourceStep step = source_after_outcome(outcome, complete);
    if (step == SourceStep::kRollBack) add("source hears ABORTED", roll_back);
    if (step == SourceStep::kRemove)
      add("source removes its copy", [](State& n) {
        remove_source(n);
        if (n.target.process != kDown) n.target.journal = kNone;  // OutcomeRequest.over
      });
    // Pages go as long as both sides have their parts.
    if (outcome == Outcome::kRunning && s.owed && s.source.copy == kStill)
      add("the last page arrives", [](State& n) { n.owed = false; });
  }

  Outcome ask_target(const State& s) const {
    if (s.target.process == kDown) return Outcome::kNone;
    if (s.target.process == kMigrating) {
      if (s.target.journal == kCommitted) return Outcome::kRunning;
      return Outcome::kOngoing;
    }
    if (s.target.journal == kNone) return outcome_without_record(s.target.copy == kRuns);
    if (!s.target.same_boot) return is(Broken::kSaysAbortedAfterReboot) ? Outcome::kAborted : Outcome::kLost;
    if (s.target.journal == kCommitted) return Outcome::kRunning;
    return is(Broken::kSaysAbortedWithoutEvidence) ? Outcome::kAborted : Outcome::kUnknown;
  }

  static void undo_target(State& s) {
    s.target.copy = kAbsent;
    s.target.journal = kNone;
    s.target.process = kOver;
    s.commit_flies = false;
    s.taken = false;
  }

  void target_steps(const State& s) {
    criu_steps(s);
    if (s.target.process != kMigrating) return;
    const bool before_commit = s.target.journal == kPrepared && s.target.copy != kReleased && s.target.copy != kRuns;
    if (before_commit && s.target.copy == kAbsent && s.source.copy == kStill && s.link)
      add("target restores", [](State& n) { n.target.copy = kStill; });
    if (before_commit && (!s.link || s.source.process == kDown)) add("target notices the loss and undoes", undo_target);
    if (before_commit) add("target gives up", [](State& n) { undo_target(n), n.answer = kFailed; }, true);
    release_steps(s);
    if (s.target.journal == kCommitting && s.target.copy == kAbsent && !s.target_ran)
      add("target says that CRIU failed", [](State& n) { undo_target(n), n.answer = kFailed; });
    if (s.target_ran && s.target.journal != kCommitted && s.target.journal != kNone)
      add("target writes committed", [](State& n) { n.target.journal = kCommitted, n.answer = kReplied; });
    if (s.target.journal == kCommitted && is(Broken::kForgetsCommitEarly))
      add("target forgets", [](State& n) { n.target.journal = kNone, n.target.process = kOver; });
    if (s.target.journal == kCommitted && (!s.link || s.source.process == kDown) && !s.owed)
      add("target goes on alone", [](State& n) { n.target.process = kOver; });
    if (is(Broken::kUndoesAfterRelease) && s.target.copy == kRuns && !s.link)
      add("target undoes what runs", undo_target);
  }

  void release_steps(const State& s) {
    if (s.target.copy != kStill) return;
    auto release = [](State& n) { n.target.copy = kReleased, n.taken = false; };
    if (is(Broken::kReleasesBeforeWriting)) {
      if (s.commit_flies && s.link) add("target releases", [&](State& n) { release(n), n.commit_flies = false; });
      return;
    }
    if (s.target.journal == kPrepared && s.commit_flies)  // may have been read before the link was lost
      add("target writes committing", [](State& n) { n.target.journal = kCommitting, n.commit_flies = false; });
    if (s.target.journal == kCommitting && s.taken) add("target removes its note", [](State& n) { n.taken = false; });
    if (s.target.journal == kCommitting && !s.taken) add("target releases", release);
  }

  // CRIU goes on when the agent is gone, and kills what it has restored if it is lost before post-restore.
  void criu_steps(const State& s) {
    if (s.target.copy == kReleased) {
      for (const bool owed : {false, true})
        add("the tasks run", [owed](State& n) { n.target.copy = kRuns, n.target_ran = true, n.owed = owed; });
      add("criu fails and kills", [](State& n) { n.target.copy = kAbsent, n.criu_log = true; }, true);
    }
    if (s.target.copy == kStill && s.target.process == kDown)
      for (const bool log : {true, false})  // false: criu was killed as well
        add("criu ends without its agent", [log](State& n) { n.target.copy = kAbsent, n.criu_log = log; });
    if (s.target.copy == kRuns)
      add("the container ends", [](State& n) { n.target.copy = kAbsent, n.ended = true, n.owed = false; }, true);
  }

  void target_recovery(const State& s) {
    if (s.target.process != kDown || s.target.copy == kStill || s.target.copy == kReleased) return;
    if (s.target.journal == kNone) return add("target starts again", [](State& n) { n.target.process = kOver; });
    Outcome outcome = target_after_restart({.state = stored(s.target.journal),
                                            .same_boot = s.target.same_boot,
                                            .may_be_undone = s.taken,
                                            .criu_killed_it = s.criu_log,
                                            .container_exists = s.target.copy == kRuns});
    if (outcome == Outcome::kAborted) return add("target starts again and undoes", undo_target);
    add("target starts again", [outcome](State& n) {
      n.target.process = kOver;
      if (outcome == Outcome::kRunning) n.target.journal = kCommitted;
    });
  }

  void faults(const State& s) {
    if (s.link) add("the link is cut", [](State& n) { n.link = false, n.commit_flies = false; }, true);
    if (s.link) add("the link is lost behind a message", [](State& n) { n.link = false; }, true);
    if (s.source.process == kMigrating || s.source.process == kAsking) {
      add("source is killed", [](State& n) { n.source.process = kDown, n.link = false; }, true);
      // What was not synced may be lost.
      for (int j = kPrepared; j <= s.source.journal; ++j)
        add(
            "source's host stops",
            [j](State& n) {
              n.source = {.journal = static_cast<Journal>(j),
                          .process = kDown,
                          .copy = kAbsent,
                          .same_boot = false,
                          .rebooted_ever = true};
              n.link = false;
            },
            true);
    }
    if (s.target.process != kDown)
      add("target is killed", [](State& n) { n.target.process = kDown, n.link = false, n.commit_flies = false; }, true);
    for (int j = s.target.journal == kNone ? kNone : kPrepared; j <= s.target.journal; ++j)
      add(
          "target's host stops",
          [j](State& n) {
            n.target = {.journal = static_cast<Journal>(j),
                        .process = kDown,
                        .copy = kAbsent,
                        .same_boot = false,
                        .rebooted_ever = true};
            n.link = n.commit_flies = n.taken = n.criu_log = false;
          },
          true);
  }

  std::string trace(State state) const {
    std::vector<std::string> names;
    for (auto found = seen_.find(state); found != seen_.end() && !found->second.second.empty();
         found = seen_.find(found->second.first))
      names.push_back(found->second.second);
    std::string text = ":";
    for (auto name = names.rbegin(); name != names.rend(); ++name) text += "\n  " + *name;
    return text;
  }

  const Broken broken_;
  State from_;
  std::vector<Step> steps_;
  std::map<State, std::pair<State, std::string>> seen_;
  size_t frozen_ = 0;
};

TEST(CommitModel, NoInterleavingRunsTwoCopiesOrNone) {
  Model model(Broken::kNothing);
  EXPECT_EQ(model.explore(), "");
  RecordProperty("states", static_cast<int>(model.states()));
  EXPECT_GT(model.states(), 1000u);
  EXPECT_GT(model.frozen_for_operators(), 0u);  // those that the document names are there
}

class BrokenRule : public testing::TestWithParam<std::pair<Broken, std::string>> {};

TEST_P(BrokenRule, HasACounterExample) {
  Model model(GetParam().first);
  const std::string wrong = model.explore();
  EXPECT_NE(wrong, "") << "after " << model.states() << " states";
  EXPECT_EQ(wrong.substr(0, wrong.find(':')), GetParam().second) << wrong;
}

INSTANTIATE_TEST_SUITE_P(CommitModel, BrokenRule,
                         testing::Values(std::pair(Broken::kSendsCommitBeforeWritingIt, "two copies run"),
                                         std::pair(Broken::kRollsBackWhenCommitIsUnanswered, "two copies run"),
                                         std::pair(Broken::kThawsWhatMayHaveBeenCommitted, "two copies run"),
                                         std::pair(Broken::kRemovesWhileMemoryIsOwed,
                                                   "the source has removed memory that is owed"),
                                         std::pair(Broken::kReleasesBeforeWriting, "the target has removed what ran"),
                                         std::pair(Broken::kForgetsCommitEarly, "it ends with no copy running"),
                                         std::pair(Broken::kSaysAbortedAfterReboot, "the source runs an old copy"),
                                         std::pair(Broken::kSaysAbortedWithoutEvidence, "the source runs an old copy"),
                                         std::pair(Broken::kUndoesAfterRelease, "the target has removed what ran")));

}  // namespace
}  // namespace godwit
