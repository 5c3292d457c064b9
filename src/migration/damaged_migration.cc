#include "migration/unfinished_migration.h"

namespace godwit {

namespace {

class DamagedMigration : public UnfinishedMigration {
 public:
  explicit DamagedMigration(DamagedRecord record) : record_(std::move(record)) {}
  bool run(const std::stop_token&) override { return false; }
  bool is_source() const override { return record_.source; }
  control::Migration status() const override {
    control::Migration status;
    status.set_id(record_.id);
    status.set_role(record_.source ? "source" : "target");
    status.set_phase("damaged");
    status.set_ongoing(true);
    status.set_error(text());
    return status;
  }
  Result<std::string> resolve(control::Side) override {
    return fail(text() + ". Bring the container into order by hand, then remove the file and start the agent again");
  }
  std::optional<peer::OutcomeReply> outcome() const override {
    peer::OutcomeReply reply;
    reply.set_outcome(peer::OutcomeReply::UNKNOWN);
    reply.set_detail(text());
    return reply;
  }

 private:
  std::string text() const { return "the journal record " + record_.path.string() + " is damaged: " + record_.why; }
  const DamagedRecord record_;
};

}  // namespace

std::shared_ptr<UnfinishedMigration> make_damaged(DamagedRecord record) {
  return std::make_shared<DamagedMigration>(std::move(record));
}

}  // namespace godwit
