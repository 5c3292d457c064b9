#include "migration/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/identifier.h"
#include "base/log.h"

namespace godwit {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::string_view kMagic = "godwit-journal 1 ";
constexpr std::string_view kUnfinished = ".new";
constexpr size_t kPortsMax = 64;
constexpr size_t kQuotaFilesMax = 8;

std::string hash(std::string_view text) { return fmt::format("{:016x}", XXH64(text.data(), text.size(), 0)); }

std::string facts_text(const JournalFacts& facts) {
  json ports = json::array();
  for (const JournalPort& port : facts.ports)
    ports.push_back(
        {{"name", port.name}, {"index", port.index}, {"bridge", port.bridge}, {"settings", to_hex(port.settings)}});
  json quota = json::array();
  for (const auto& [file, value] : facts.cpu_quota) quota.push_back({file.string(), value});
  const json value = {{"side", facts.source ? "source" : "target"},
                      {"id", facts.id},
                      {"container", facts.container},
                      {"peer", facts.peer},
                      {"boot", facts.boot_id},
                      {"netns", facts.netns.string()},
                      {"bundle", facts.bundle.string()},
                      {"freezer", facts.freezer.string()},
                      {"ports", ports},
                      {"cpu_quota", quota},
                      {"bandwidth_max", facts.bandwidth_max},
                      {"network", to_hex(facts.network)}};
  return value.dump(-1, ' ', true);
}

// Every field is there and of its type, or the whole is refused.
class FactsReader {
 public:
  explicit FactsReader(const json& value) : value_(value) {}
  std::string text(const json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || !found->is_string()) return wrong(key);
    return found->get<std::string>();
  }
  uint64_t number(const json& object, const char* key, uint64_t max = UINT64_MAX) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || !found->is_number_unsigned() || found->get<uint64_t>() > max) {
      wrong(key);
      return 0;
    }
    return found->get<uint64_t>();
  }
  std::string bytes(const json& object, const char* key) {
    auto decoded = from_hex(text(object, key));
    return decoded ? *decoded : wrong(key);
  }
  const json& list(const char* key, size_t entries_max) {
    static const json empty = json::array();
    const auto found = value_.find(key);
    if (found != value_.end() && found->is_array() && found->size() <= entries_max) return *found;
    wrong(key);
    return empty;
  }
  std::string wrong(const char* key) {
    if (!wrong_) wrong_ = key;
    return {};
  }
  const std::optional<std::string>& failure() const { return wrong_; }

 private:
  const json& value_;
  std::optional<std::string> wrong_;
};

Result<JournalFacts> parse_facts(std::string_view text) {
  const json value = json::parse(text, nullptr, false);
  if (!value.is_object()) return fail("its facts are not JSON");
  FactsReader reader(value);
  JournalFacts facts;
  const std::string side = reader.text(value, "side");
  facts.source = side == "source";
  if (side != "source" && side != "target") reader.wrong("side");
  facts.id = reader.text(value, "id");
  facts.container = reader.text(value, "container");
  facts.peer = reader.text(value, "peer");
  facts.boot_id = reader.text(value, "boot");
  facts.netns = reader.text(value, "netns");
  facts.bundle = reader.text(value, "bundle");
  facts.freezer = reader.text(value, "freezer");
  facts.network = reader.bytes(value, "network");
  if (value.contains("bandwidth_max")) facts.bandwidth_max = reader.number(value, "bandwidth_max");
  for (const json& port : reader.list("ports", kPortsMax)) {
    JournalPort& added = facts.ports.emplace_back();
    added.name = reader.text(port, "name");
    added.bridge = reader.text(port, "bridge");
    added.settings = reader.bytes(port, "settings");
    added.index = static_cast<uint32_t>(reader.number(port, "index", UINT32_MAX));
  }
  for (const json& entry : reader.list("cpu_quota", kQuotaFilesMax)) {
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string())
      facts.cpu_quota.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    else
      reader.wrong("cpu_quota");
  }
  if (reader.failure()) return fail("its field '" + *reader.failure() + "' is missing or odd");
  TRY(check_id(facts.id));
  TRY(check_name("container", facts.container));
  return facts;
}

std::string state_line(CommitState state, std::string_view facts_hash) {
  const std::string name(commit_state_name(state));
  return name + " " + hash(name + std::string(facts_hash)) + "\n";
}

Result<CommitState> parse_state(std::string_view line, std::string_view facts_hash) {
  for (const CommitState state : {CommitState::kFrozen, CommitState::kCommitting, CommitState::kCommitted})
    if (line == state_line(state, facts_hash)) return state;
  return fail("a line of it is damaged");
}

Result<> sync_directory(const fs::path& directory) {
  TRY_ASSIGN(const ScopedFd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno("fsync " + directory.string());
  return {};
}

Result<> write_and_name(int file, const std::string& text, const fs::path& unfinished, const fs::path& path) {
  TRY(write_all(file, text));
  if (::fsync(file) != 0) return fail_errno("fsync " + unfinished.string());
  if (::rename(unfinished.c_str(), path.c_str()) != 0) return fail_errno("rename " + unfinished.string());
  return {};
}

Result<size_t> count_records(const fs::path& directory) {
  std::error_code error;
  size_t count = 0;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) ++count;
  if (error) return fail_errno("read " + directory.string(), error.value());
  return count;
}

// Side and id of a record's file name.
std::optional<DamagedRecord> named_record(const fs::path& path) {
  const std::string name = path.filename().string();
  const size_t dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  const std::string side = name.substr(0, dash), id = name.substr(dash + 1);
  if ((side != "source" && side != "target") || !check_id(id)) return std::nullopt;
  return DamagedRecord{path, side == "source", id, ""};
}

}  // namespace

Result<std::string> boot_id() {
  TRY_ASSIGN(const std::string text, read_file("/proc/sys/kernel/random/boot_id"));
  return trimmed(text);
}

Result<JournalRecord> JournalRecord::begin(const fs::path& directory, JournalFacts facts) {
  TRY(check_id(facts.id));
  TRY(make_directories(directory));
  TRY_ASSIGN(const size_t records, count_records(directory));
  if (records >= kJournalRecordsMax)
    return fail(fmt::format("{} has {} unfinished migrations: godwit status lists them, godwit resolve ends them",
                            directory.string(), records));
  TRY_ASSIGN(facts.boot_id, godwit::boot_id());
  const std::string body = facts_text(facts);
  const std::string facts_hash = hash(body);
  const std::string text = fmt::format("{}{} {}\n{}\n", kMagic, body.size(), facts_hash, body);
  if (text.size() > kJournalRecordBytesMax) return fail("its journal record would be too long");

  const fs::path path = directory / ((facts.source ? "source-" : "target-") + facts.id);
  const fs::path unfinished = path.string() + std::string(kUnfinished);
  TRY_ASSIGN(ScopedFd file, open_file(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND));
  if (auto named = write_and_name(file.get(), text, unfinished, path); !named) {
    (void)::unlink(unfinished.c_str());  // on a full disk it would count as a record
    return std::unexpected(std::move(named.error()));
  }
  TRY(sync_directory(directory));
  return JournalRecord(path, std::move(file), facts_hash);
}

Result<JournalRecord> JournalRecord::reopen(const fs::path& path) {
  TRY_ASSIGN(const StoredRecord stored, read_journal_record(path));
  TRY_ASSIGN(const std::string text, read_file(path, kJournalRecordBytesMax));
  const std::string facts_hash = hash(facts_text(stored.facts));
  // A line that was cut short would spoil the next one.
  TRY_ASSIGN(ScopedFd file, open_file(path, O_WRONLY | O_APPEND));
  const size_t whole = text.rfind('\n') + 1;
  if (::ftruncate(file.get(), static_cast<off_t>(whole)) != 0) return fail_errno("truncate " + path.string());
  return JournalRecord(path, std::move(file), facts_hash);
}

Result<> JournalRecord::note(CommitState state) {
  TRY_DOING("writing the journal", write_all(file_.get(), state_line(state, facts_hash_)));
  return {};
}

Result<> JournalRecord::remove() {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return fail_errno("unlink " + path_.string());
  return sync_directory(path_.parent_path());
}

Result<StoredRecord> parse_journal_record(std::string_view text) {
  if (text.size() > kJournalRecordBytesMax) return fail("it is too long");
  if (!text.starts_with(kMagic)) return fail("it does not begin as a journal record");
  const size_t head_end = text.find('\n');
  if (head_end == std::string_view::npos) return fail("its first line is cut short");
  const std::string_view head = text.substr(kMagic.size(), head_end - kMagic.size());
  const size_t space = head.find(' ');
  size_t length = 0;
  if (space == std::string_view::npos ||
      std::from_chars(head.data(), head.data() + space, length).ptr != head.data() + space)
    return fail("its first line is damaged");
  const std::string_view facts_hash = head.substr(space + 1);
  std::string_view rest = text.substr(head_end + 1);
  if (rest.size() <= length || rest[length] != '\n') return fail("its facts are cut short");
  if (hash(rest.substr(0, length)) != facts_hash) return fail("its facts are damaged");
  StoredRecord record;
  TRY_ASSIGN(record.facts, parse_facts(rest.substr(0, length)));
  rest.remove_prefix(length + 1);
  for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
    TRY_ASSIGN(const CommitState state, parse_state(rest.substr(0, end + 1), facts_hash));
    if (state <= record.state) return fail("its states are out of order");
    record.state = state;
  }
  return record;
}

Result<StoredRecord> read_journal_record(const fs::path& path) {
  TRY_ASSIGN(const std::string text, read_file(path, kJournalRecordBytesMax));
  TRY_ASSIGN(StoredRecord record, parse_journal_record(text));
  const auto named = named_record(path);
  if (!named || named->id != record.facts.id || named->source != record.facts.source)
    return fail("it is not the record that its name says");
  record.path = path;
  return record;
}

Result<Journal> read_journal(const fs::path& directory) {
  Journal journal;
  std::error_code error;
  if (!fs::exists(directory, error)) return journal;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.string().ends_with(kUnfinished)) {
      (void)::unlink(path.c_str());
      continue;
    }
    auto record = read_journal_record(path);
    if (record) {
      journal.records.push_back(std::move(*record));
    } else if (auto named = named_record(path)) {
      named->why = record.error().text();
      journal.damaged.push_back(std::move(*named));
    } else {
      log::warn("{} is no journal record and is left alone", path.string());
    }
  }
  if (error) return fail_errno("read " + directory.string(), error.value());
  return journal;
}

}  // namespace godwit
