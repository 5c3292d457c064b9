// What an agent remembers of migrations that are over. Encoded, and in memory of its own: small pieces that stay would
// otherwise lie in the heap wherever a migration was just using it, and keep a page each.
#pragma once

#include <deque>
#include <memory_resource>
#include <optional>
#include <string>
#include <vector>

#include "control.pb.h"
#include "peer.pb.h"

namespace godwit {

class PastMigrations {
 public:
  // The oldest is forgotten when there are too many. OUTCOME: what its source may ask this agent, its target, for.
  void add(const control::Migration& status, const std::optional<peer::OutcomeReply>& outcome);

  std::optional<control::Migration> find(const std::string& id) const;
  std::optional<peer::OutcomeReply> outcome(const std::string& id) const;
  // Oldest first.
  std::vector<control::Migration> all() const;

 private:
  struct Record {
    std::pmr::string id;
    std::pmr::string status;
    std::optional<std::pmr::string> outcome;
  };

  std::pmr::unsynchronized_pool_resource memory_;
  std::pmr::deque<Record> records_{&memory_};
};

}  // namespace godwit
