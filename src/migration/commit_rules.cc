#include "migration/commit_rules.h"

namespace godwit {

std::string_view commit_state_name(CommitState state) {
  switch (state) {
    case CommitState::kPrepared:
      return "prepared";
    case CommitState::kFrozen:
      return "frozen";
    case CommitState::kCommitting:
      return "committing";
    case CommitState::kCommitted:
      return "committed";
  }
  return "";
}

// After a stop of the host the state on disk may be older than the last one: Commit may have been sent in any.
SourceStep source_after_restart(CommitState state, bool same_boot) {
  if (!same_boot) return SourceStep::kAsk;
  const bool commit_sent = state == CommitState::kCommitting || state == CommitState::kCommitted;
  return commit_sent ? SourceStep::kAsk : SourceStep::kRollBack;
}

SourceStep source_after_outcome(Outcome outcome, bool complete) {
  if (outcome == Outcome::kRunning && complete) return SourceStep::kRemove;
  if (outcome == Outcome::kAborted) return SourceStep::kRollBack;
  return SourceStep::kAsk;
}

SourceStep lost_source_after_outcome(Outcome outcome) {
  return outcome == Outcome::kNone || outcome == Outcome::kOngoing ? SourceStep::kAsk : SourceStep::kClose;
}

Outcome target_after_restart(const TargetEvidence& evidence) {
  if (!evidence.same_boot) return Outcome::kLost;
  if (evidence.state == CommitState::kCommitted) return Outcome::kRunning;
  if (evidence.state == CommitState::kPrepared || evidence.may_be_undone) return Outcome::kAborted;
  if (evidence.container_exists) return Outcome::kRunning;
  return evidence.criu_killed_it ? Outcome::kAborted : Outcome::kUnknown;
}

Outcome outcome_without_record(bool name_in_use) { return name_in_use ? Outcome::kUnknown : Outcome::kAborted; }

}  // namespace godwit
