#include "runtime/streams.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/subprocess.h"
#include "base/test_support.h"

namespace godwit {
namespace {

using testing::Contains;
using testing::HasSubstr;

class StreamsTest : public testing::Test {
 protected:
  peer::Stream file(const std::string& name, uint32_t flags = O_WRONLY) {
    peer::Stream stream;
    stream.set_kind(peer::Stream::FILE);
    stream.set_fd(1);
    stream.set_path((directory_ / name).string());
    stream.set_key("file[1:2]");
    stream.set_flags(flags);
    stream.set_mode(0640);
    return stream;
  }
  Result<StreamReplacements> open(const std::vector<peer::Stream>& streams) {
    return StreamReplacements::open(
        streams, {.log_directory = directory_ / "logs", .keeper = "/no/such/keeper", .container = "redis"});
  }
  std::vector<peer::Stream> streams_of(const Command& command) {
    child_.emplace(must(Subprocess::start(command)));
    return must(find_streams(child_->pid(), false));
  }

  ScopedDirectory directory_;
  std::optional<Subprocess> child_;
};

// A process in this mount namespace: files are its own, as those of a container's root file system are.
TEST_F(StreamsTest, EachKindIsRecognised) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const ScopedFd read_end(ends[0]), write_end(ends[1]);
  const ScopedFd log = must(open_file(directory_ / "log", O_WRONLY | O_CREAT | O_APPEND));
  auto streams =
      streams_of({.argv = {"sleep", "1000"}, .stdin_fd = -1, .stdout_fd = write_end.get(), .stderr_fd = log.get()});
  ASSERT_EQ(streams.size(), 3u);
  EXPECT_EQ(streams[0].kind(), peer::Stream::DEV_NULL);
  EXPECT_EQ(streams[1].kind(), peer::Stream::PIPE);
  EXPECT_THAT(streams[1].key(), testing::MatchesRegex("pipe:\\[[0-9]+\\]"));
  EXPECT_EQ(streams[2].kind(), peer::Stream::NONE);
}

TEST_F(StreamsTest, ASocketIsNotSupported) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const ScopedFd one(ends[0]), other(ends[1]);
  const auto streams = streams_of({.argv = {"sleep", "1000"}, .stdout_fd = one.get()});
  EXPECT_EQ(streams[1].kind(), peer::Stream::UNSUPPORTED);
  EXPECT_THAT(streams[1].path(), HasSubstr("socket:["));
}

TEST_F(StreamsTest, AProcessThatHasEndedIsAnError) { EXPECT_FALSE(find_streams(0x3ffffff, false)); }

TEST_F(StreamsTest, OneFileForTwoStreamsIsDeclaredOnce) {
  peer::Stream out = file("log"), err = file("log");
  err.set_fd(2);
  criu::Options options;
  declare_streams({out, err}, options);
  EXPECT_EQ(options.external_size(), 1);
  auto replacements = must(open({out, err}));
  EXPECT_EQ(replacements.descriptors().size(), 1u);
}

TEST_F(StreamsTest, OutputGoesOnAtTheEndOfTheFile) {
  must(write_file(directory_ / "log", "before\n"));
  auto replacements = must(open({file("log")}));
  must(write_all(replacements.descriptors()[0].second, "after\n"));
  EXPECT_EQ(must(read_file(directory_ / "log")), "before\nafter\n");
  EXPECT_THAT(replacements.notes(), Contains(HasSubstr("stdout goes on in " + (directory_ / "log").string())));
}

TEST_F(StreamsTest, AFileThatIsMissingIsMadeWithItsMode) {
  must(open({file("log")}));
  struct stat facts{};
  ASSERT_EQ(::stat((directory_ / "log").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0640u);
}

TEST_F(StreamsTest, InputGoesOnWhereItWas) {
  EXPECT_FALSE(open({file("input", O_RDONLY)}));
  must(write_file(directory_ / "input", "0123456789"));
  peer::Stream input = file("input", O_RDONLY);
  auto replacements = must(open({input}));
  input.set_offset(7);
  must(replacements.set_positions({input}));
  char rest[10] = {};
  EXPECT_EQ(::read(replacements.descriptors()[0].second, rest, sizeof rest), 3);
  EXPECT_STREQ(rest, "789");
}

// Paths come from a peer.
TEST_F(StreamsTest, WhatIsNoPlainFileIsRefused) {
  std::filesystem::create_symlink("/etc/passwd", directory_ / "link");
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  must(make_directories(directory_ / "directory"));
  for (const char* name : {"link", "fifo", "directory", "no/such", "../escape", "./log"})
    EXPECT_FALSE(open({file(name)})) << name;
  peer::Stream relative = file("log");
  relative.set_path("log");
  EXPECT_FALSE(open({relative}));
}

TEST_F(StreamsTest, MalformedStreamsAreRefused) {
  peer::Stream stream = file("log");
  stream.set_fd(3);
  EXPECT_FALSE(open({stream}));
  stream.set_fd(1);
  stream.set_key(std::string(100, 'k'));
  EXPECT_FALSE(open({stream}));
  EXPECT_FALSE(open({file("a"), file("b"), file("c"), file("d")}));
}

TEST_F(StreamsTest, CriuFindsTheFileByItsKeyWithoutTheFirstCharacter) {
  auto replacements = must(open({file("log")}));
  criu::Options options;
  replacements.declare(options);
  ASSERT_EQ(options.inherit_fd_size(), 1);
  EXPECT_EQ(options.inherit_fd(0).key(), "ile[1:2]");
  EXPECT_EQ(options.inherit_fd(0).fd(), replacements.descriptors()[0].first);
}

TEST_F(StreamsTest, AKeeperThatCannotBeStartedIsAnError) {
  peer::Stream pipe;
  pipe.set_kind(peer::Stream::PIPE);
  pipe.set_fd(1);
  pipe.set_flags(O_WRONLY);
  pipe.set_key("pipe:[5]");
  EXPECT_THAT(open({pipe}).error().text(), HasSubstr("keeper"));
}

}  // namespace
}  // namespace godwit
