#include "migration/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/tmpfs.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class JournalTest : public testing::Test {
 protected:
  JournalTest() { directory_ = fs::path(::testing::TempDir()) / ("journal-" + random()); }
  ~JournalTest() override { fs::remove_all(directory_); }
  static std::string random() { return std::to_string(::getpid()) + "-" + std::to_string(++count_); }

  static JournalFacts facts(const std::string& id = "0123456789abcdef") {
    return {.source = true,
            .id = id,
            .container = "web",
            .peer = "node2",
            .boot_id = "",
            .netns = "/run/netns/web",
            .bundle = "",
            .freezer = "/sys/fs/cgroup/freezer/web",
            .ports = {{.name = "veth1", .index = 7, .bridge = "br0", .settings = std::string("\x01\0\xff", 3)}},
            .cpu_quota = {{"/sys/fs/cgroup/cpu/web/cpu.cfs_quota_us", "-1"}},
            .bandwidth_max = 10'000'000,
            .network = std::string("\x0a\x00", 2)};
  }
  fs::path path() const { return directory_ / "source-0123456789abcdef"; }
  std::string text() const { return read_file(path()).value(); }

  fs::path directory_;
  static inline int count_ = 0;
};

TEST_F(JournalTest, RecordIsReadAsItWasWritten) {
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_TRUE(record) << record.error().text();
  ASSERT_TRUE(record->note(CommitState::kFrozen));
  ASSERT_TRUE(record->note(CommitState::kCommitting));
  const auto journal = read_journal(directory_);
  ASSERT_TRUE(journal);
  ASSERT_EQ(journal->records.size(), 1u);
  const StoredRecord& read = journal->records[0];
  EXPECT_EQ(read.state, CommitState::kCommitting);
  EXPECT_EQ(read.facts.container, "web");
  EXPECT_EQ(read.facts.ports[0].settings, facts().ports[0].settings);
  EXPECT_EQ(read.facts.cpu_quota, facts().cpu_quota);
  EXPECT_EQ(read.facts.bandwidth_max, facts().bandwidth_max);
  EXPECT_EQ(read.facts.network, facts().network);
  EXPECT_EQ(read.facts.boot_id, boot_id().value());
}

TEST_F(JournalTest, NothingIsLeftOfOneThatIsOver) {
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_TRUE(record && record->remove() && record->remove());
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_TRUE(read_journal(directory_)->records.empty());
}

TEST_F(JournalTest, NoDirectoryIsAnEmptyJournal) { EXPECT_TRUE(read_journal(directory_)->records.empty()); }

// What a host that stopped may leave of the last write: the states before it count.
TEST_F(JournalTest, StateThatWasCutShortHasNotBeenSaid) {
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_TRUE(record->note(CommitState::kFrozen));
  const std::string before = text();
  ASSERT_TRUE(record->note(CommitState::kCommitting));
  const std::string after = text();
  for (size_t bytes = before.size(); bytes < after.size(); ++bytes) {
    auto read = parse_journal_record(after.substr(0, bytes));
    ASSERT_TRUE(read) << bytes << ": " << read.error().text();
    EXPECT_EQ(read->state, CommitState::kFrozen) << bytes;
  }
  EXPECT_EQ(parse_journal_record(after)->state, CommitState::kCommitting);
}

TEST_F(JournalTest, OneThatIsGoneOnWithAfterATornWriteIsWhole) {
  auto record = JournalRecord::begin(directory_, facts());
  std::ofstream(path(), std::ios::app) << "comm";
  auto again = JournalRecord::reopen(path());
  ASSERT_TRUE(again) << again.error().text();
  ASSERT_TRUE(again->note(CommitState::kCommitted));
  EXPECT_EQ(read_journal_record(path())->state, CommitState::kCommitted);
}

// Of the facts nothing may be missing: they are renamed into place when they are whole.
TEST_F(JournalTest, FactsThatWereCutShortAreRefused) {
  ASSERT_TRUE(JournalRecord::begin(directory_, facts()));
  const std::string whole = text();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_FALSE(parse_journal_record(whole.substr(0, bytes))) << bytes;
}

TEST_F(JournalTest, EveryChangedByteIsNoticed) {
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_TRUE(record->note(CommitState::kCommitting));
  const std::string whole = text();
  for (size_t i = 0; i + 1 < whole.size(); ++i) {  // the last newline: a torn write
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(parse_journal_record(changed)) << i;
  }
}

TEST_F(JournalTest, DamagedRecordIsNamedAndKept) {
  ASSERT_TRUE(JournalRecord::begin(directory_, facts()));
  ASSERT_TRUE(write_file(path(), "zeros"));
  const auto journal = read_journal(directory_);
  ASSERT_TRUE(journal);
  EXPECT_TRUE(journal->records.empty());
  ASSERT_EQ(journal->damaged.size(), 1u);
  EXPECT_EQ(journal->damaged[0].id, "0123456789abcdef");
  EXPECT_TRUE(journal->damaged[0].source);
  EXPECT_THAT(journal->damaged[0].why, HasSubstr("does not begin as a journal record"));
  EXPECT_TRUE(fs::exists(path()));
}

TEST_F(JournalTest, RecordUnderAnotherNameIsRefused) {
  ASSERT_TRUE(JournalRecord::begin(directory_, facts()));
  fs::rename(path(), directory_ / "target-0123456789abcdef");
  EXPECT_EQ(read_journal(directory_)->damaged.size(), 1u);
}

TEST_F(JournalTest, OneThatWasBeingBegunIsRemoved) {
  ASSERT_TRUE(make_directories(directory_));
  ASSERT_TRUE(write_file(path().string() + ".new", "godwit-jour"));
  const auto journal = read_journal(directory_);
  EXPECT_TRUE(journal->records.empty() && journal->damaged.empty());
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(JournalTest, NothingIsLeftOfOneForWhichTheDiskHasNoRoom) {
  auto disk = ScopedTmpfs::mount(directory_, 4096);
  ASSERT_TRUE(disk) << disk.error().text();
  ASSERT_TRUE(write_file(directory_ / "others", std::string(4096, 'x')));
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_FALSE(record);
  EXPECT_THAT(record.error().text(), HasSubstr("No space left"));
  EXPECT_FALSE(fs::exists(path().string() + ".new"));
}

TEST_F(JournalTest, StatesOutOfOrderAreRefused) {
  auto record = JournalRecord::begin(directory_, facts());
  ASSERT_TRUE(record->note(CommitState::kCommitted));
  ASSERT_TRUE(record->note(CommitState::kFrozen));
  EXPECT_FALSE(read_journal_record(path()));
}

TEST_F(JournalTest, AtTheLimitNoneIsBegun) {
  ASSERT_TRUE(make_directories(directory_));
  for (size_t i = 0; i + 1 < kJournalRecordsMax; ++i) ASSERT_TRUE(write_file(directory_ / std::to_string(i), ""));
  ASSERT_TRUE(JournalRecord::begin(directory_, facts()));
  const auto refused = JournalRecord::begin(directory_, facts("fedcba9876543210"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("1000 unfinished migrations"));
}

}  // namespace
}  // namespace godwit
