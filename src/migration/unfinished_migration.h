// A migration that an earlier agent of this host did not bring to its end, found in the journal.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "control.pb.h"
#include "migration/journal.h"
#include "peer.pb.h"
#include "wire/preamble.h"

namespace godwit {

class UnfinishedMigration {
 public:
  virtual ~UnfinishedMigration() = default;
  // Until it is decided, or STOP is asked for. Once, on a thread of its own. True: it is over and its record is gone.
  virtual bool run(const std::stop_token& stop) = 0;
  virtual bool is_source() const = 0;
  virtual control::Migration status() const = 0;
  // An operator decides which side's copy goes on. What is done about it, or why it cannot be.
  virtual Result<std::string> resolve(control::Side side) = 0;
  // Of a target: what the source is told.
  virtual std::optional<peer::OutcomeReply> outcome() const { return std::nullopt; }
  // Of a target: the source has ended the migration. True: the record is gone.
  virtual bool forget() { return false; }
  // Of a target: as TargetMigration's.
  virtual bool pass_on(const wire::Preamble& /*preamble*/, ScopedFd& /*socket*/) { return false; }
};

// The record cannot be read: all is left as it is, and a person has to look.
std::shared_ptr<UnfinishedMigration> make_damaged(DamagedRecord record);

}  // namespace godwit
