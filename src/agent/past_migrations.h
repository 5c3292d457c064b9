// What an agent remembers of migrations that are over. Encoded, and in memory of its own that is taken once: small
// pieces that stay would otherwise lie in the heap wherever a migration was just using it, and keep a page each.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control.pb.h"
#include "peer.pb.h"

namespace godwit {

class PastMigrations {
 public:
  PastMigrations();

  // The oldest are forgotten when there are too many, or memory is short. OUTCOME: what its source may ask this agent,
  // its target, for.
  void add(const control::Migration& status, const std::optional<peer::OutcomeReply>& outcome);

  std::optional<control::Migration> find(const std::string& id) const;
  std::optional<peer::OutcomeReply> outcome(const std::string& id) const;
  // Oldest first.
  std::vector<control::Migration> all() const;

 private:
  // Of memory_: the id, the status and the outcome, one behind the other.
  struct Record {
    size_t begin;
    size_t id;
    size_t status;
    std::optional<size_t> outcome;

    size_t end() const { return begin + id + status + outcome.value_or(0); }
  };

  // Where SIZE bytes are free. Forgets what was there.
  size_t make_room(size_t size);
  std::string_view text(size_t begin, size_t size) const { return {memory_.data() + begin, size}; }
  std::string_view id(const Record& record) const;
  control::Migration status(const Record& record) const;

  std::vector<char> memory_;
  std::deque<Record> records_;  // in the order of memory_, which begins again at its end
};

}  // namespace godwit
