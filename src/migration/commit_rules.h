// What each side may conclude from what it knows, when it cannot ask its own past: docs/design/commit.md as functions
// of their arguments alone. The agents call them, and commit_model_test.cc runs them through every interleaving.
#pragma once

#include <string_view>

namespace godwit {

// As the journal has it.
enum class CommitState { kPrepared, kFrozen, kCommitting, kCommitted };
std::string_view commit_state_name(CommitState state);

// The target's answer to a source that asks. kNone: it cannot be reached.
enum class Outcome { kNone, kUnknown, kOngoing, kRunning, kAborted, kLost };

enum class SourceStep {
  kRollBack,  // the copy here runs
  kAsk,       // the copy here stays as it is; ask (again) for the outcome
  kRemove,    // the copy here is removed
  kClose,     // there is nothing here; the record goes
};

// An agent has been started again and finds STATE in the source's journal.
SourceStep source_after_restart(CommitState state, bool same_boot);
// It was COMMITTING or COMMITTED and has an answer. COMPLETE: RUNNING, and no page is owed.
SourceStep source_after_outcome(Outcome outcome, bool complete);
// The same, if the copy here went with its host.
SourceStep lost_source_after_outcome(Outcome outcome);

// What a target's agent finds when it has been started again.
struct TargetEvidence {
  CommitState state = CommitState::kPrepared;
  bool same_boot = true;
  bool may_be_undone = false;     // taken.json is there: CRIU was not let past post-restore
  bool criu_killed_it = false;    // its log says so
  bool container_exists = false;  // runC knows it
};
// kAborted: undo what is left. kRunning: it is here, or was and has ended.
Outcome target_after_restart(const TargetEvidence& evidence);

// The target has no record of the migration that it is asked about. NAME_IN_USE: runC knows a container of that name.
Outcome outcome_without_record(bool name_in_use);

}  // namespace godwit
