// Trees of real tmpfs mounts: read, checked, and made again elsewhere.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <functional>

#include "base/file.h"
#include "base/page.h"
#include "base/test_support.h"
#include "kernel/tmpfs.h"
#include "memory/file_contents.h"
#include "memory/file_staging.h"
#include "memory/file_tree.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;

// Hands everything straight to a staging and counts it.
class Link : public ContentSink {
 public:
  explicit Link(FileStaging& staging) : staging_(staging) {}
  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) override {
    bytes += pages.size();
    return staging_.content(inode, offset, pages);
  }
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t count) override {
    return staging_.zeros(inode, offset, count);
  }
  uint64_t bytes = 0;

 private:
  FileStaging& staging_;
};

class FileTreeTest : public ::testing::Test {
 protected:
  FileTreeTest()
      : source_(must(ScopedTmpfs::mount(directory_ / "source", 64 << 20))),
        target_(must(ScopedTmpfs::mount(directory_ / "target", 64 << 20))),
        contents_(must(FileContents::create(must(open_file(source_.path(), O_RDONLY | O_DIRECTORY))))),
        staging_(must(FileStaging::create(target_.path()))),
        link_(*staging_) {}

  void pass(const MappedLook& mapped = {}) { must(contents_->send_changes(link_, mapped)); }
  // As in the freeze. Returns the bytes sent in it.
  uint64_t freeze(const MappedLook& mapped = {.unknown = true, .files = {}}) {
    const uint64_t before = link_.bytes;
    const auto tree = must(contents_->send_last_changes(link_));
    must(staging_->apply(tree));
    must(contents_->send_open_files(link_, mapped));
    must(staging_->finish());
    return link_.bytes - before;
  }
  std::string there(const std::string& name) { return must(read_file(target_.path() / name)); }

  ScopedDirectory directory_;
  ScopedTmpfs source_, target_;
  std::unique_ptr<FileContents> contents_;
  std::unique_ptr<FileStaging> staging_;
  Link link_;
};

struct stat facts_of(const fs::path& path) {
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) != 0) throw std::runtime_error("lstat " + path.string());
  return facts;
}

std::string filled(size_t pages, char with) { return std::string(pages * kPageBytes, with); }

TEST_F(FileTreeTest, EveryKindOfFileArrives) {
  const fs::path root = source_.path();
  must(make_directories(root / "a" / "b"));
  must(write_file(root / "a" / "file", "content"));
  ::chown((root / "a" / "file").c_str(), 12, 34);
  ::chmod((root / "a" / "file").c_str(), 04751);
  must(write_file(root / "empty", ""));
  fs::create_hard_link(root / "a" / "file", root / "a" / "b" / "link");
  fs::create_symlink("/nowhere/at all", root / "symlink");
  ::mkfifo((root / "fifo").c_str(), 0640);
  ::mknod((root / "null").c_str(), S_IFCHR | 0666, makedev(1, 3));
  ::mknod((root / "socket").c_str(), S_IFSOCK | 0755, 0);
  ::setxattr((root / "empty").c_str(), "trusted.godwit", "value", 5, 0);
  ::chmod(root.c_str(), 01777);
  const timespec times[2] = {{1, 2}, {1'000'000'007, 123'456'789}};
  ::utimensat(AT_FDCWD, (root / "a" / "file").c_str(), times, 0);
  ::utimensat(AT_FDCWD, (root / "a").c_str(), times, 0);
  ::utimensat(AT_FDCWD, (root / "symlink").c_str(), times, AT_SYMLINK_NOFOLLOW);
  pass();
  EXPECT_EQ(freeze(), 0u);

  const fs::path copy = target_.path();
  EXPECT_EQ(there("a/file"), "content");
  EXPECT_EQ(facts_of(copy / "a/file").st_ino, facts_of(copy / "a/b/link").st_ino);
  EXPECT_EQ(fs::read_symlink(copy / "symlink"), "/nowhere/at all");
  char value[16];
  ASSERT_EQ(::getxattr((copy / "empty").c_str(), "trusted.godwit", value, sizeof value), 5);
  EXPECT_EQ(std::string(value, 5), "value");
  size_t entries = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const auto path = fs::relative(entry.path(), root);
    const struct stat here = facts_of(entry.path()), copied = facts_of(copy / path);
    EXPECT_EQ(copied.st_mode, here.st_mode) << path;
    EXPECT_EQ(copied.st_uid, here.st_uid) << path;
    EXPECT_EQ(copied.st_gid, here.st_gid) << path;
    EXPECT_EQ(copied.st_rdev, here.st_rdev) << path;
    EXPECT_EQ(copied.st_mtim.tv_sec, here.st_mtim.tv_sec) << path;
    EXPECT_EQ(copied.st_mtim.tv_nsec, here.st_mtim.tv_nsec) << path;
    if (!S_ISDIR(here.st_mode)) {
      EXPECT_EQ(copied.st_size, here.st_size) << path;
    }
    ++entries;
  }
  EXPECT_EQ(entries, 9u);
  EXPECT_EQ(static_cast<size_t>(std::distance(fs::recursive_directory_iterator(copy), {})), entries);
  EXPECT_EQ(facts_of(copy).st_mode, facts_of(root).st_mode);
}

TEST_F(FileTreeTest, WhatIsSentBeforeIsNotSentInTheFreeze) {
  must(write_file(source_.path() / "file", filled(1000, 'x')));
  pass();
  EXPECT_EQ(link_.bytes, filled(1000, 'x').size());
  EXPECT_EQ(freeze(), 0u);
  EXPECT_EQ(there("file"), filled(1000, 'x'));
}

TEST_F(FileTreeTest, ChangesBetweenPassesArrive) {
  const fs::path root = source_.path();
  for (const char* name : {"kept", "grows", "shrinks", "removed", "replaced", "moved"})
    must(write_file(root / name, filled(20, name[0])));
  pass();
  must(write_file(root / "grows", filled(30, 'g')));
  ::truncate((root / "shrinks").c_str(), 5000);
  fs::remove(root / "removed");
  fs::remove(root / "replaced");
  must(write_file(root / "replaced", "new"));
  fs::rename(root / "moved", root / "elsewhere");
  pass();
  ::truncate((root / "shrinks").c_str(), 20 * kPageBytes);  // and what was behind does not come back
  freeze();
  EXPECT_EQ(there("kept"), filled(20, 'k'));
  EXPECT_EQ(there("grows"), filled(30, 'g'));
  std::string shrunk = filled(20, '\0');
  shrunk.replace(0, 5000, std::string(5000, 's'));
  EXPECT_EQ(there("shrinks"), shrunk);
  EXPECT_EQ(there("replaced"), "new");
  EXPECT_EQ(there("elsewhere"), filled(20, 'm'));
  EXPECT_EQ(std::distance(fs::directory_iterator(target_.path()), {}), 5);
}

TEST_F(FileTreeTest, HolesStayHoles) {
  const fs::path file = source_.path() / "sparse";
  must(write_file(file, ""));
  ::truncate(file.c_str(), off_t{1} << 39);
  const ScopedFd fd = must(open_file(file, O_RDWR));
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, off_t{1} << 38), 6);
  pass();
  freeze();
  const struct stat copy = facts_of(target_.path() / "sparse");
  EXPECT_EQ(copy.st_size, off_t{1} << 39);
  EXPECT_EQ(copy.st_blocks * 512, static_cast<off_t>(kPageBytes));
  const ScopedFd copied = must(open_file(target_.path() / "sparse", O_RDONLY));
  char text[6];
  ASSERT_EQ(::pread(copied.get(), text, 6, off_t{1} << 38), 6);
  EXPECT_EQ(std::string(text, 6), "middle");
}

// Nothing of what times tell.
TEST_F(FileTreeTest, WritesThroughAMappingArrive) {
  must(write_file(source_.path() / "mapped", filled(1000, 'x')));
  must(write_file(source_.path() / "was mapped", filled(1000, 'x')));
  auto map = [&](const char* name) {
    const ScopedFd file = must(open_file(source_.path() / name, O_RDWR));
    void* memory = ::mmap(nullptr, 1000 * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    EXPECT_NE(memory, MAP_FAILED);
    return static_cast<volatile char*>(memory);
  };
  volatile char* mapped = map("mapped");
  EXPECT_EQ(mapped[7 * kPageBytes], 'x');  // from here on the processor writes without a fault
  pass();
  volatile char* ended = map("was mapped");
  EXPECT_EQ(ended[9 * kPageBytes], 'x');
  ended[9 * kPageBytes] = 'y';
  ::munmap(const_cast<char*>(ended), 1000 * kPageBytes);
  mapped[7 * kPageBytes] = 'y';
  EXPECT_EQ(freeze(), 2 * kPageBytes);
  EXPECT_EQ(there("mapped")[7 * kPageBytes], 'y');
  EXPECT_EQ(there("was mapped")[9 * kPageBytes], 'y');
  EXPECT_EQ(facts_of(target_.path() / "mapped").st_mtim.tv_nsec, facts_of(source_.path() / "mapped").st_mtim.tv_nsec);
  ::munmap(const_cast<char*>(mapped), 1000 * kPageBytes);
}

// What was written through mappings is known, here from the test.
TEST_F(FileTreeTest, OfAMappedFileOnlyWhatWasWrittenIsReadAgain) {
  const fs::path path = source_.path() / "mapped";
  must(write_file(path, filled(100, 'x')));
  const ScopedFd file = must(open_file(path, O_RDWR));
  const struct stat facts = facts_of(path);
  const FileId id{facts.st_dev, facts.st_ino};
  void* const at = ::mmap(nullptr, 100 * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  auto* const memory = static_cast<char*>(at);
  const auto written = [&](uint64_t page) {
    return MappedLook{.unknown = false, .files = {{id, {.all = false, .pages = {{{page * kPageBytes}, 1}}}}}};
  };
  pass({.unknown = true, .files = {}});
  uint64_t before = link_.bytes;
  const auto sent = [&] { return link_.bytes - std::exchange(before, link_.bytes); };
  memory[7 * kPageBytes] = memory[9 * kPageBytes] = 'y';
  pass(written(7));
  EXPECT_EQ(sent(), kPageBytes);
  ASSERT_EQ(::pwrite(file.get(), "z", 1, 11 * kPageBytes), 1);  // then it is read whole
  pass(written(20));
  EXPECT_EQ(sent(), 2 * kPageBytes);
  memory[30 * kPageBytes] = 'y';
  EXPECT_EQ(freeze(written(30)), kPageBytes);
  std::string expected = filled(100, 'x');
  for (const size_t page : {7, 9, 30}) expected[page * kPageBytes] = 'y';
  expected[11 * kPageBytes] = 'z';
  EXPECT_EQ(there("mapped"), expected);
  ::munmap(at, 100 * kPageBytes);
}

TEST_F(FileTreeTest, APageThatBecomesZeroIsZeroThere) {
  must(write_file(source_.path() / "file", filled(10, 'x')));
  pass();
  const ScopedFd file = must(open_file(source_.path() / "file", O_RDWR));
  const std::string zeros = filled(3, '\0');
  ASSERT_EQ(::pwrite(file.get(), zeros.data(), zeros.size(), 2 * kPageBytes), static_cast<ssize_t>(zeros.size()));
  freeze();
  EXPECT_EQ(there("file"), filled(2, 'x') + zeros + filled(5, 'x'));
}

// --- What a peer may send -------------------------------------------------------------------------------------------

peer::FileEntry entry(const std::string& path, uint32_t mode, uint64_t inode = 2) {
  peer::FileEntry made;
  made.set_path(path);
  made.set_mode(mode);
  made.set_inode(inode);
  if (S_ISLNK(mode)) made.set_target("/etc");
  return made;
}

peer::FileTree tree_of(const std::vector<peer::FileEntry>& entries) {
  peer::FileTree tree;
  *tree.add_entries() = entry("", S_IFDIR | 0755, 1);
  for (const peer::FileEntry& made : entries) *tree.add_entries() = made;
  return tree;
}

TEST_F(FileTreeTest, HostilePathsAreRefusedBeforeAnythingIsMade) {
  const uint32_t file = S_IFREG | 0644, directory = S_IFDIR | 0755, symlink = S_IFLNK | 0777;
  for (const auto& entries : std::vector<std::vector<peer::FileEntry>>{
           {entry("..", directory)},
           {entry("../x", file)},
           {entry("/x", file)},
           {entry("x/", file)},
           {entry("a", directory), entry("a//b", file, 3)},
           {entry("a", directory), entry("a/../b", file, 3)},
           {entry(".", directory)},
           {entry("link", symlink), entry("link/passwd", file, 3)},
           {entry("a", file), entry("a/b", file, 3)},
           {entry("missing/x", file)},
           {entry("x", file), entry("x", file, 3)},
           {entry(std::string("x\0y", 3), file)},
           {entry(std::string(256, 'x'), file)},
           {entry("", directory)},
           {entry("x", 0644)},
           {entry("x", file | 0x100000)},
       })
    EXPECT_FALSE(check_file_tree(tree_of(entries))) << entries.back().path();
  auto attribute = entry("x", file);
  attribute.add_attributes()->set_name("security.selinux");
  EXPECT_FALSE(check_file_tree(tree_of({attribute})));
  EXPECT_FALSE(check_file_tree({}));
  EXPECT_TRUE(check_file_tree(tree_of({entry("a", directory), entry("a/b", file, 3), entry("c", symlink, 4)})));

  EXPECT_FALSE(staging_->apply(tree_of({entry("link", symlink), entry("link/passwd", file, 3)})));
  EXPECT_FALSE(fs::exists(target_.path() / "link"));
}

TEST_F(FileTreeTest, ContentOutOfPlaceIsRefused) {
  EXPECT_FALSE(staging_->content(2, 1, filled(1, 'x')));
  EXPECT_FALSE(staging_->content(2, 0, "short"));
  EXPECT_FALSE(staging_->content(2, UINT64_MAX - kPageBytes + 1, filled(1, 'x')));
  EXPECT_FALSE(staging_->zeros(2, 0, 0));
  must(staging_->apply(tree_of({entry("x", S_IFREG | 0644)})));
  EXPECT_FALSE(staging_->content(2, 0, filled(1, 'x')));  // it was not said to be open for writing
  EXPECT_FALSE(staging_->apply(tree_of({})));
}

TEST_F(FileTreeTest, ContentBehindTheTreeDoesNotMakeAFileLonger) {
  auto open = entry("x", S_IFREG | 0644);
  open.set_open_for_writing(true);
  open.set_size(10);
  must(staging_->apply(tree_of({open})));
  must(staging_->content(2, 0, filled(1, 'x')));
  must(staging_->content(2, kPageBytes, filled(1, 'x')));
  must(staging_->finish());
  EXPECT_EQ(there("x"), std::string(10, 'x'));
}

TEST_F(FileTreeTest, MoreFilesThanAreCarriedAreAnError) {
  fs::path path = source_.path();
  for (int i = 0; i <= kFileDepthMax; ++i) path /= "d";
  must(make_directories(path));
  EXPECT_FALSE(contents_->send_changes(link_, {}));
}

}  // namespace
}  // namespace godwit
