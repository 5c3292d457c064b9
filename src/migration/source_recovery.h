// The source's side of a migration whose agent was killed: rolled back, or frozen until the outcome is known and the
// container on the target has all its memory, which the copy here still gives (docs/design/commit.md).
#pragma once

#include <condition_variable>
#include <mutex>

#include "migration/control_channel.h"
#include "migration/helper_processes.h"
#include "migration/host.h"
#include "migration/page_answering.h"
#include "migration/unfinished_migration.h"
#include "transport/tls_context.h"

namespace godwit {

class SourceRecovery : public UnfinishedMigration {
 public:
  // While the migration's directory is still mounted. HOST outlives it; so do PEERS and TLS, given before run().
  SourceRecovery(const Host& host, StoredRecord record, JournalRecord journal);
  void use(PeerConnector& peers, const TlsContext& tls) {
    peers_ = &peers;
    tls_ = &tls;
  }

  bool run(const std::stop_token& stop) override;
  bool is_source() const override { return true; }
  control::Migration status() const override;
  Result<std::string> resolve(control::Side side) override;

 private:
  SourceStep ask();
  SourceStep after(const peer::OutcomeReply& reply);
  void send_memory(const peer::OutcomeReply& reply);
  Result<> answer_requests(const peer::Resume& where);
  bool end(SourceStep step);
  void roll_back();
  void remove_here();
  void say(const std::string& phase, const std::string& text);
  void check(const Result<>& done) const;

  const Host& host_;
  const StoredRecord record_;
  JournalRecord journal_;
  PeerConnector* peers_ = nullptr;
  const TlsContext* tls_ = nullptr;
  std::unique_ptr<PageAnswering> answering_;  // of run()'s thread
  HelperProcesses helpers_;
  bool same_boot_ = true;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any decided_;
  std::optional<SourceStep> decision_;
  std::string phase_ = "recovery";
  std::string text_;
  std::string outcome_;
};

Outcome outcome_of(const peer::OutcomeReply& reply);

}  // namespace godwit
