// The tar that CRIU finds, called as CRIU calls it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/subprocess.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

using testing::StartsWith;

class TarStubTest : public testing::Test {
 protected:
  TarStubTest() {
    must(make_directories(source()));
    must(make_directories(target()));
  }
  std::filesystem::path source() const { return directory_ / "source"; }
  std::filesystem::path target() const { return directory_ / "target"; }
  std::filesystem::path image() const { return directory_ / "tmpfs.tar.gz.img"; }

  // CRIU's tmpfs_dump and tmpfs_restore. The exit status.
  int run(const std::string& tar, std::vector<std::string> arguments, const std::filesystem::path& in,
          const std::filesystem::path& out) const {
    arguments.insert(arguments.begin(), tar);
    const ScopedFd input = must(open_file(in, O_RDONLY));
    const ScopedFd output = must(open_file(out, O_WRONLY | O_CREAT | O_TRUNC));
    auto process = must(
        Subprocess::start({.argv = arguments, .stdin_fd = input.get(), .stdout_fd = output.get(), .stderr_fd = 2}));
    return must(process.wait());
  }
  static std::string stub() { return (helpers_directory() / "stub/tar").string(); }
  int create(const std::string& tar = stub()) const {
    return run(tar,
               {"--create", "--gzip", "--no-unquote", "--no-wildcards", "--one-file-system", "--check-links",
                "--preserve-permissions", "--sparse", "--numeric-owner", "--directory", "/proc/self/fd/0", "."},
               source(), image());
  }
  int extract() const {
    return run(stub(), {"--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory", target().string()},
               image(), "/dev/null");
  }
  std::string text() const { return must(read_file(image())); }

  ScopedDirectory directory_;
};

TEST_F(TarStubTest, AnEmptyDirectoryIsOneLineAndComesBackAsItWas) {
  ASSERT_EQ(::chown(source().c_str(), 12, 34), 0);
  ASSERT_EQ(::chmod(source().c_str(), 01757), 0);
  const timespec times[2] = {{1, 0}, {1'700'000'000, 123'456'789}};
  ASSERT_EQ(::utimensat(AT_FDCWD, source().c_str(), times, 0), 0);
  ASSERT_EQ(create(), 0);
  EXPECT_EQ(text(), "godwit-empty-directory 1 1757 12 34 1700000000 123456789\n");
  ASSERT_EQ(extract(), 0);
  struct stat facts{};
  ASSERT_EQ(::stat(target().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 01757u);
  EXPECT_EQ(facts.st_uid, 12u);
  EXPECT_EQ(facts.st_gid, 34u);
  EXPECT_EQ(facts.st_mtim.tv_sec, 1'700'000'000);
  EXPECT_EQ(facts.st_mtim.tv_nsec, 123'456'789);
}

TEST_F(TarStubTest, FilesTravelWithoutGzip) {
  must(write_file(source() / "file", "content", 0640));
  must(make_directories(source() / "directory"));
  ASSERT_EQ(create(), 0);
  EXPECT_NE(text().substr(0, 2), "\x1f\x8b");
  ASSERT_EQ(extract(), 0);
  EXPECT_EQ(must(read_file(target() / "file")), "content");
  EXPECT_TRUE(std::filesystem::is_directory(target() / "directory"));
}

// An image that a CRIU without the stub has made.
TEST_F(TarStubTest, AnImageWithGzipIsUnpackedAllTheSame) {
  must(write_file(source() / "file", "content"));
  ASSERT_EQ(create("/usr/bin/tar"), 0);
  ASSERT_EQ(text().substr(0, 2), "\x1f\x8b");
  ASSERT_EQ(extract(), 0);
  EXPECT_EQ(must(read_file(target() / "file")), "content");
}

TEST_F(TarStubTest, AnEmptyDirectoryWithAttributesIsLeftToTar) {
  if (::setxattr(source().c_str(), "trusted.godwit", "x", 1, 0) != 0) GTEST_SKIP() << "no attributes here";
  ASSERT_EQ(create(), 0);
  EXPECT_THAT(text(), testing::Not(StartsWith("godwit-empty-directory")));
}

TEST_F(TarStubTest, AFileThatBeginsWithAHiddenNameIsNoEmptyDirectory) {
  must(write_file(source() / "..hidden", ""));
  ASSERT_EQ(create(), 0);
  ASSERT_EQ(extract(), 0);
  EXPECT_TRUE(std::filesystem::exists(target() / "..hidden"));
}

// An image comes from a peer.
TEST_F(TarStubTest, ImagesThatMakeNoSenseFail) {
  for (const std::string& bad :
       {std::string("garbage"), std::string("godwit-empty-directory 1 755 0 0"), std::string("\x1f\x8b garbage"),
        std::string("godwit-empty-directory 2 755 0 0 0 0\n"),
        std::string("godwit-empty-directory 1 755 0 0 0 9999999999\n"), std::string(100'000, 'x')}) {
    must(write_file(image(), bad));
    EXPECT_NE(extract(), 0) << bad.substr(0, 60);
  }
}

TEST_F(TarStubTest, AModeHasNoMoreBitsThanADirectorys) {
  must(write_file(image(), "godwit-empty-directory 1 37777777755 0 0 0 0\n"));
  ASSERT_EQ(extract(), 0);
  EXPECT_TRUE(std::filesystem::is_directory(target()));
}

}  // namespace
}  // namespace godwit
