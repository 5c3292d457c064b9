// Shared memory of real processes: found, sent, and made again as memfds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "base/page.h"
#include "base/test_support.h"
#include "memory/shared_contents.h"
#include "memory/shared_staging.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

constexpr size_t kPages = 64;
constexpr size_t kBytes = kPages * kPageBytes;

// Hands everything straight to a staging and counts it.
class Link : public SharedSink {
 public:
  explicit Link(SharedStaging& staging) : staging_(staging) {}
  Result<> object(uint64_t inode, std::string_view name) override {
    names[inode] = name;
    return staging_.object(inode, name);
  }
  Result<> object_gone(uint64_t inode) override {
    names.erase(inode);
    return staging_.object_gone(inode);
  }
  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) override {
    bytes += pages.size();
    return staging_.content(inode, offset, pages);
  }
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t count) override {
    return staging_.zeros(inode, offset, count);
  }
  std::map<uint64_t, std::string> names;
  uint64_t bytes = 0;

 private:
  SharedStaging& staging_;
};

char* map_shared(int fd, size_t bytes = kBytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) throw std::runtime_error("mmap");
  return static_cast<char*>(at);
}

ScopedFd make_memfd(const char* name, size_t bytes = kBytes) {
  ScopedFd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) throw std::runtime_error("memfd_create");
  return file;
}

uint64_t inode_of(int file) {
  struct stat facts{};
  if (::fstat(file, &facts) != 0) throw std::runtime_error("fstat");
  return facts.st_ino;
}

class SharedContentsTest : public ::testing::Test {
 protected:
  static inline const MappedLook kUnknown{.unknown = true, .files = {}};

  // The container is a child that has what there is now, and nothing that is made for it later.
  void find() {
    if (!child_) child_ = std::make_unique<TestProcess>([] { ::pause(); });
    contents_->find({child_->pid()});
  }
  void pass(const MappedLook& mapped = kUnknown) {
    find();
    must(contents_->send_changes(link_, mapped));
  }
  // As in the freeze. Returns the bytes sent in it.
  uint64_t freeze(const MappedLook& mapped = kUnknown) {
    const uint64_t before = link_.bytes;
    must(staging_.apply(must(contents_->send_last_changes(link_, mapped))));
    must(contents_->send_open_objects(link_, mapped));
    return link_.bytes - before;
  }
  uint64_t named(const std::string& name) {
    for (const auto& [inode, other] : link_.names)
      if (other == name) return inode;
    return 0;
  }
  std::string there(uint64_t inode) {
    const auto file = staging_.take(inode);
    if (!file) return {};
    struct stat facts{};
    ::fstat(file->get(), &facts);
    std::string text(static_cast<size_t>(facts.st_size), '\0');
    EXPECT_EQ(::pread(file->get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return text;
  }

  std::unique_ptr<TestProcess> child_;
  std::unique_ptr<SharedContents> contents_ = must(SharedContents::create());
  SharedStaging staging_;
  Link link_{staging_};
};

TEST_F(SharedContentsTest, AnonymousMemoryAndMemfdsArrive) {
  char* const anonymous = map_shared(-1);
  const ScopedFd open = make_memfd("only open");
  std::memset(anonymous, 'a', kBytes / 2);
  ASSERT_EQ(::pwrite(open.get(), "memfd", 5, 7 * kPageBytes), 5);
  pass();
  EXPECT_EQ(freeze(), 0u);
  std::string expected(kBytes, '\0');
  std::memset(expected.data(), 'a', kBytes / 2);
  EXPECT_EQ(there(named("/dev/zero")), expected);
  EXPECT_EQ(there(inode_of(open.get())).substr(7 * kPageBytes, 6), std::string("memfd\0", 6));
  EXPECT_EQ(named("only open"), inode_of(open.get()));
  ::munmap(anonymous, kBytes);
}

TEST_F(SharedContentsTest, WhatIsWrittenBetweenPassesIsSentAgain) {
  const ScopedFd file = make_memfd("written");
  char* const memory = map_shared(file.get());
  std::memset(memory, 'a', kBytes);
  pass();
  memory[3 * kPageBytes] = 'b';
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * kPageBytes, kPageBytes), 0);
  pass();
  memory[9 * kPageBytes] = 'c';
  ASSERT_EQ(::ftruncate(file.get(), kBytes - 1000), 0);
  EXPECT_EQ(freeze(), 2 * kPageBytes);  // the last one ends elsewhere
  std::string expected(kBytes - 1000, 'a');
  expected[3 * kPageBytes] = 'b';
  expected[9 * kPageBytes] = 'c';
  std::memset(&expected[5 * kPageBytes], 0, kPageBytes);
  EXPECT_EQ(there(inode_of(file.get())), expected);
  ::munmap(memory, kBytes);
}

TEST_F(SharedContentsTest, WhatIsGoneIsDroppedAndWhatIsSmallIsLeft) {
  const ScopedFd file = make_memfd("soon gone");
  const ScopedFd small = make_memfd("small", kPageBytes);
  pass();
  EXPECT_NE(named("soon gone"), 0u);
  EXPECT_EQ(named("small"), 0u);
  contents_->find({});
  must(contents_->send_changes(link_, kUnknown));
  EXPECT_EQ(named("soon gone"), 0u);
  freeze();
}

TEST_F(SharedContentsTest, SystemVSharedMemoryIsNotOfThem) {
  const int id = ::shmget(IPC_PRIVATE, kBytes, IPC_CREAT | 0600);
  void* const at = ::shmat(id, nullptr, 0);
  ::shmctl(id, IPC_RMID, nullptr);
  ASSERT_NE(at, reinterpret_cast<void*>(-1));
  const size_t before = contents_->owned().size();
  pass();
  EXPECT_EQ(contents_->owned().size(), before);
  ::shmdt(at);
}

TEST_F(SharedContentsTest, ASealedObjectIsWholeBeforeItCanBeSealed) {
  const ScopedFd file = make_memfd("sealed");
  ASSERT_EQ(::pwrite(file.get(), "content", 7, 0), 7);
  ASSERT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  find();  // it has not been sent before the freeze
  must(staging_.apply(must(contents_->send_last_changes(link_, kUnknown))));
  const ScopedFd copy = std::move(*staging_.take(inode_of(file.get())));
  ASSERT_EQ(::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  must(contents_->send_open_objects(link_, kUnknown));
  EXPECT_EQ(there(inode_of(file.get())).substr(0, 7), "content");
}

TEST_F(SharedContentsTest, WhatAPeerSendsIsBounded) {
  const std::string page(kPageBytes, 'x');
  EXPECT_FALSE(staging_.content(1, 0, page));  // no such object
  must(staging_.object(1, "one"));
  EXPECT_FALSE(staging_.object(1, "again"));
  EXPECT_FALSE(staging_.object(2, std::string_view("a\0b", 3)));
  EXPECT_FALSE(staging_.content(1, 1, page));
  EXPECT_FALSE(staging_.content(1, uint64_t{1} << 62, page));
  EXPECT_FALSE(staging_.zeros(1, 0, 1));
  EXPECT_EQ(staging_.take(1), std::nullopt);  // not before its size is known
  peer::SharedMemory memory;
  memory.add_objects()->set_inode(2);
  EXPECT_FALSE(staging_.apply(memory));
  memory.mutable_objects(0)->set_inode(1);
  memory.mutable_objects(0)->set_size(uint64_t{1} << 60);
  EXPECT_FALSE(staging_.apply(memory));
  memory.mutable_objects(0)->set_size(100);
  must(staging_.apply(memory));
  EXPECT_FALSE(staging_.apply(memory));
  EXPECT_FALSE(staging_.object(3, "late"));
  must(staging_.content(1, 0, page));
  EXPECT_EQ(there(1), std::string(100, 'x'));  // no longer than it is
}

}  // namespace
}  // namespace godwit
