#include "agent/past_migrations.h"

#include <algorithm>

#include "base/log.h"

namespace godwit {

namespace {

// Enough for an operator to look back at a day of draining hosts. 1.4 kB are usual for a migration that came, 0.2 for
// one that left.
constexpr size_t kMax = 1000;
constexpr size_t kMemory = size_t{3} << 19;

// What was encoded here can be decoded.
template <class Message>
Message decode(std::string_view bytes) {
  Message message;
  (void)message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  return message;
}

}  // namespace

PastMigrations::PastMigrations() : memory_(kMemory) {}

void PastMigrations::add(const control::Migration& status, const std::optional<peer::OutcomeReply>& outcome) {
  const std::string texts[] = {status.id(), status.SerializeAsString(), outcome ? outcome->SerializeAsString() : ""};
  const size_t size = texts[0].size() + texts[1].size() + texts[2].size();
  if (size > kMemory) return log::warn("migration {} is not remembered: {} bytes are too many", status.id(), size);
  size_t end = make_room(size);
  records_.push_back({end, texts[0].size(), texts[1].size(), outcome ? std::optional(texts[2].size()) : std::nullopt});
  for (const std::string& each : texts) end = std::ranges::copy(each, memory_.begin() + end).out - memory_.begin();
}

size_t PastMigrations::make_room(size_t size) {
  if (records_.size() == kMax) records_.pop_front();
  size_t begin = records_.empty() ? 0 : records_.back().end();
  // Those from BEGIN on are the oldest.
  const auto in_the_way = [&](size_t end) {
    return !records_.empty() && records_.front().begin >= begin && records_.front().begin < end;
  };
  if (begin + size > kMemory) {
    while (in_the_way(kMemory)) records_.pop_front();
    begin = 0;
  }
  while (in_the_way(begin + size)) records_.pop_front();
  return begin;
}

std::string_view PastMigrations::id(const Record& record) const { return text(record.begin, record.id); }

control::Migration PastMigrations::status(const Record& record) const {
  return decode<control::Migration>(text(record.begin + record.id, record.status));
}

std::optional<control::Migration> PastMigrations::find(const std::string& id) const {
  for (const Record& each : records_)
    if (this->id(each) == id) return status(each);
  return std::nullopt;
}

std::optional<peer::OutcomeReply> PastMigrations::outcome(const std::string& id) const {
  for (const Record& each : records_)
    if (each.outcome && this->id(each) == id)
      return decode<peer::OutcomeReply>(text(each.begin + each.id + each.status, *each.outcome));
  return std::nullopt;
}

std::vector<control::Migration> PastMigrations::all() const {
  std::vector<control::Migration> list;
  for (const Record& each : records_) list.push_back(status(each));
  return list;
}

}  // namespace godwit
