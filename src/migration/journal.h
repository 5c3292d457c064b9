// What a migration writes to disk, so that an agent that was killed can finish it, roll it back, or leave it frozen:
// docs/design/commit.md says when each line is written and why only the first is synced.
//
// One file for each side of a migration, DIRECTORY/source-ID or target-ID, of a kilobyte or two:
//
//   godwit-journal 1 LENGTH HASH      of the line that follows
//   {"container": …}                  JournalFacts
//   frozen HASH                       a CommitState each; appended
//
// A last line that was cut short does not count: what it was to say has not been said. Anything else that is not as
// above is an error. HASH: XXH64 as 16 hexadecimal digits, of a state together with the hash of the facts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "migration/commit_rules.h"

namespace godwit {

inline constexpr size_t kJournalRecordBytesMax = 64 << 10;
// With more unfinished migrations than these none is begun: an operator has to look at them.
inline constexpr size_t kJournalRecordsMax = 1000;

// A port of a bridge, as it is to be put back.
struct JournalPort {
  std::string name;
  uint32_t index = 0;
  std::string bridge;    // empty: it was on none
  std::string settings;  // attributes for the kernel; may be empty
};

struct JournalFacts {
  bool source = true;
  std::string id;
  std::string container;
  std::string peer;     // the other host
  std::string boot_id;  // begin() sets it
  std::filesystem::path netns;
  std::filesystem::path bundle;   // empty: not ours
  std::filesystem::path freezer;  // source: the container's cgroup
  std::vector<JournalPort> ports;
  // Source: files of the cpu cgroup and what they held, in the order to write them.
  std::vector<std::pair<std::filesystem::path, std::string>> cpu_quota;
  uint64_t bandwidth_max = 0;  // source: bytes per second for memory that follows the container; 0: no limit
  std::string network;         // source: PortDetachment::record(); target: peer::NetworkState, what is announced
};

class JournalRecord {
 public:
  // Synced when it returns. The state is kPrepared.
  static Result<JournalRecord> begin(const std::filesystem::path& directory, JournalFacts facts);
  // Of a record that was read: to go on writing it.
  static Result<JournalRecord> reopen(const std::filesystem::path& path);

  // Not synced. Some 10 us.
  Result<> note(CommitState state);
  // It is over. Synced. Fine if it is gone.
  Result<> remove();

 private:
  JournalRecord(std::filesystem::path path, ScopedFd file, std::string facts_hash)
      : path_(std::move(path)), file_(std::move(file)), facts_hash_(std::move(facts_hash)) {}
  std::filesystem::path path_;
  ScopedFd file_;
  std::string facts_hash_;
};

struct StoredRecord {
  std::filesystem::path path;
  JournalFacts facts;
  CommitState state = CommitState::kPrepared;
};
Result<StoredRecord> parse_journal_record(std::string_view text);
Result<StoredRecord> read_journal_record(const std::filesystem::path& path);

// A record that cannot be read; of its name alone, side and id are known.
struct DamagedRecord {
  std::filesystem::path path;
  bool source = true;
  std::string id;
  std::string why;
};

struct Journal {
  std::vector<StoredRecord> records;
  std::vector<DamagedRecord> damaged;
};
// What was being begun when its agent was killed is removed.
Result<Journal> read_journal(const std::filesystem::path& directory);

// Of this start of the kernel.
Result<std::string> boot_id();

}  // namespace godwit
