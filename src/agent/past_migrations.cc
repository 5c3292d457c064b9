#include "agent/past_migrations.h"

#include <algorithm>

namespace godwit {

namespace {

// Enough for an operator to look back at a day of draining hosts; a kilobyte each.
constexpr size_t kMax = 1000;

// What was encoded here can be decoded.
template <class Message>
Message decode(const std::pmr::string& bytes) {
  Message message;
  (void)message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  return message;
}

}  // namespace

void PastMigrations::add(const control::Migration& status, const std::optional<peer::OutcomeReply>& outcome) {
  const auto stored = [this](const std::string& text) { return std::pmr::string(text, &memory_); };
  Record record{stored(status.id()), stored(status.SerializeAsString()), std::nullopt};
  if (outcome) record.outcome = stored(outcome->SerializeAsString());
  records_.push_back(std::move(record));
  if (records_.size() > kMax) records_.pop_front();
}

std::optional<control::Migration> PastMigrations::find(const std::string& id) const {
  const auto found =
      std::ranges::find_if(records_, [&](const Record& record) { return record.id == std::string_view(id); });
  if (found == records_.end()) return std::nullopt;
  return decode<control::Migration>(found->status);
}

std::optional<peer::OutcomeReply> PastMigrations::outcome(const std::string& id) const {
  const auto found = std::ranges::find_if(
      records_, [&](const Record& record) { return record.outcome.has_value() && record.id == std::string_view(id); });
  if (found == records_.end()) return std::nullopt;
  return decode<peer::OutcomeReply>(*found->outcome);
}

std::vector<control::Migration> PastMigrations::all() const {
  std::vector<control::Migration> list;
  for (const Record& record : records_) list.push_back(decode<control::Migration>(record.status));
  return list;
}

}  // namespace godwit
