// The calls that the lens puts in place of libc's, made from here: its PAGEMAP_SCAN is the kernel's less what is owned,
// however the caller asks for it, as are its reads of pagemap; and what it does not know it passes on.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "runtime/lens_files.h"
#include "runtime/socket_dump_watch.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

// linux/fs.h of 6.7, which older distributions do not have.
struct PageRegion {
  uint64_t start, end, categories;
};
struct ScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArg);
constexpr uint64_t kPresent = 1 << 3, kSwapped = 1 << 4, kGuard = 1 << 8;
constexpr uint64_t kPages = 1024;

using Ioctl = int (*)(int, unsigned long, ...);
using Openat = int (*)(int, const char*, int, ...);
using Pread = ssize_t (*)(int, void*, size_t, off_t);
using Lseek = off_t (*)(int, off_t, int);
using Mkdtemp = char* (*)(char*);
using Setsockopt = int (*)(int, int, int, const void*, socklen_t);
using Sendmsg = ssize_t (*)(int, const msghdr*, int);

class LensCalls : public testing::Test {
 protected:
  LensCalls() {
    area_ = static_cast<char*>(
        ::mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::madvise(area_, kPages * kPageBytes, MADV_NOHUGEPAGE);
    pagemap_ = must(open_file("/proc/" + std::to_string(::getpid()) + "/pagemap", O_RDONLY));
  }
  ~LensCalls() override {
    if (library_ != nullptr) ::dlclose(library_);
    ::munmap(area_, kPages * kPageBytes);
  }
  // Each time anew, since it remembers the last process.
  void load() {
    if (library_ != nullptr) ::dlclose(library_);
    ::setenv("GODWIT_LENS", directory_.path().c_str(), 1);
    library_ = ::dlopen((helpers_directory() / "lens.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) throw std::runtime_error(::dlerror());
    EXPECT_EQ(::getenv("GODWIT_LENS"), nullptr);  // what CRIU starts is not to inherit it
  }
  template <typename Call>
  Call call(const char* name) const {
    return reinterpret_cast<Call>(::dlsym(library_, name));
  }
  RemoteAddr page(uint64_t number) const { return {reinterpret_cast<uint64_t>(area_) + number * kPageBytes}; }
  void own(const PageRanges& ranges, bool unguarded = false) {
    must(write_lens(directory_.path(), ::getpid(), ranges, "", unguarded));
    load();
  }
  // All that a caller finds who has room for ROOM regions, as CRIU's does: it goes on where walk_end says.
  std::vector<bool> scan(Ioctl ioctl, uint64_t room, bool for_guards = false) const {
    std::vector<bool> found(kPages);
    std::vector<PageRegion> regions(room);
    ScanArg arg{};
    arg.size = sizeof arg;
    arg.start = page(0).value;
    arg.end = page(kPages).value;
    arg.vec = reinterpret_cast<uint64_t>(regions.data());
    arg.vec_len = room;
    arg.return_mask = for_guards ? kGuard : kPresent | kSwapped;
    (for_guards ? arg.category_mask : arg.category_anyof_mask) = arg.return_mask;
    while (arg.start < arg.end) {
      const int count = ioctl(pagemap_.get(), kPagemapScan, &arg);
      if (count < 0 || arg.walk_end < arg.start || (arg.walk_end == arg.start && count == 0))
        throw std::runtime_error("a scan that does not go on");
      for (int i = 0; i < count; ++i)
        for (uint64_t at = regions[i].start; at < regions[i].end; at += kPageBytes)
          found[(at - page(0).value) / kPageBytes] = true;
      arg.start = arg.walk_end;
    }
    return found;
  }

  // What is present or swapped, read AT_ONCE entries at a time.
  std::vector<bool> read(Pread pread, uint64_t at_once) const {
    std::vector<bool> found;
    std::vector<uint64_t> entries(at_once);
    while (found.size() < kPages) {
      const size_t bytes = std::min(at_once, kPages - found.size()) * sizeof(uint64_t);
      const uint64_t first = page(found.size()).value / kPageBytes;
      if (pread(pagemap_.get(), entries.data(), bytes, static_cast<off_t>(first * sizeof(uint64_t))) !=
          static_cast<ssize_t>(bytes))
        throw std::runtime_error("a read that is cut short");
      for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) found.push_back(entries[i] >> 62 != 0);
    }
    return found;
  }
  bool kernel_scans() const {
    ScanArg arg{};
    PageRegion region{};
    arg.size = sizeof arg;
    arg.vec = reinterpret_cast<uint64_t>(&region);
    arg.vec_len = 1;
    arg.end = kPageBytes;
    arg.return_mask = kPresent;
    return ::ioctl(pagemap_.get(), kPagemapScan, &arg) >= 0;
  }
  void write_at_random() {
    for (uint64_t i = 0; i < kPages; ++i)
      if (random_() % 3 != 0) area_[i * kPageBytes] = 1;
  }
  // PRESENT less what is owned from now on.
  std::vector<bool> own_at_random(std::vector<bool> present) {
    PageRanges owned;
    for (uint64_t at = random_() % 20; at < kPages;) {
      const uint64_t pages = std::min<uint64_t>(1 + random_() % 40, kPages - at);
      owned.push_back({page(at), pages});
      for (uint64_t i = at; i < at + pages; ++i) present[i] = false;
      at += pages + 1 + random_() % 40;
    }
    own(owned);
    return present;
  }

  const unsigned seed_ = std::random_device()();
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  std::mt19937 random_{seed_};
  ScopedDirectory directory_;
  char* area_ = nullptr;
  ScopedFd pagemap_;
  void* library_ = nullptr;
};

TEST_F(LensCalls, AScanFindsWhatTheKernelFindsLessWhatIsOwned) {
  if (!kernel_scans()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  write_at_random();
  const std::vector<bool> present = scan(reinterpret_cast<Ioctl>(::dlsym(RTLD_DEFAULT, "ioctl")), 64);
  for (int run = 0; run < 30; ++run) {
    const std::vector<bool> expected = own_at_random(present);
    for (uint64_t room : {1, 2, 7, 1000}) EXPECT_EQ(scan(call<Ioctl>("ioctl"), room), expected) << room;
  }
}

TEST_F(LensCalls, AReadOfPagemapFindsWhatTheKernelTellsLessWhatIsOwned) {
  write_at_random();
  const std::vector<bool> present = read(reinterpret_cast<Pread>(::dlsym(RTLD_DEFAULT, "pread64")), kPages);
  EXPECT_EQ(std::ranges::count(present, true) > 0, true);
  for (int run = 0; run < 30; ++run) {
    const std::vector<bool> expected = own_at_random(present);
    for (uint64_t at_once : {uint64_t{1}, uint64_t{7}, uint64_t{100}, kPages})
      EXPECT_EQ(read(call<Pread>("pread64"), at_once), expected) << at_once;
  }
}

TEST_F(LensCalls, OtherReadsReachTheKernel) {
  own({{page(0), kPages}});
  const auto pread = call<Pread>("pread64");
  std::array<char, 8> bytes;
  EXPECT_EQ(pread(pagemap_.get(), bytes.data(), 3, 0), -1);  // the kernel takes whole entries
  const ScopedFd file = must(open_file("/proc/self/exe", O_RDONLY));
  EXPECT_EQ(pread(file.get(), bytes.data(), 4, 0), 4);
  EXPECT_EQ(std::string_view(bytes.data() + 1, 3), "ELF");
  EXPECT_EQ(pread(-1, bytes.data(), 8, 0), -1);
}

TEST_F(LensCalls, GuardPagesAreFoundUnlessThereAreKnownToBeNone) {
  constexpr int kGuardInstall = 102;
  if (::madvise(area_ + 5 * kPageBytes, kPageBytes, kGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no guard pages";
  ASSERT_EQ(::madvise(area_ + 50 * kPageBytes, kPageBytes, kGuardInstall), 0);
  std::vector<bool> both(kPages), outside(kPages);
  both[5] = both[50] = outside[50] = true;
  own({{page(0), 10}});
  EXPECT_EQ(scan(call<Ioctl>("ioctl"), 7, true), both);
  own({{page(0), 10}}, true);
  EXPECT_EQ(scan(call<Ioctl>("ioctl"), 7, true), outside);
}

// CRIU's requests for all that is tracked and all that is expected.
TEST_F(LensCalls, NoConnectionIsTracked) {
  load();
  const ScopedFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket) GTEST_SKIP() << "this kernel has no netfilter";
  for (const uint16_t subsystem : {NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP}) {
    struct {
      nlmsghdr header;
      nfgenmsg family;
    } request{{sizeof request, static_cast<uint16_t>(subsystem << 8 | 1), NLM_F_DUMP | NLM_F_REQUEST, 24680, 0}, {}};
    iovec part{&request, sizeof request};
    sockaddr_nl kernel{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
    msghdr message{};
    message.msg_name = &kernel;
    message.msg_namelen = sizeof kernel;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    EXPECT_EQ(call<Sendmsg>("sendmsg")(socket.get(), &message, 0), static_cast<ssize_t>(sizeof request));
    struct {
      nlmsghdr header;
      nlmsgerr verdict;
    } answer{};
    EXPECT_GE(::recv(socket.get(), &answer, sizeof answer, 0), static_cast<ssize_t>(sizeof answer));
    EXPECT_EQ(answer.header.nlmsg_type, NLMSG_ERROR);
    EXPECT_EQ(answer.header.nlmsg_seq, 24680u);
    EXPECT_EQ(answer.verdict.error, 0);
  }
}

TEST_F(LensCalls, OtherMessagesReachTheKernel) {
  load();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const ScopedFd here(ends[0]), there(ends[1]);
  char text[32] = "as it is";
  iovec part{text, sizeof text};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  EXPECT_EQ(call<Sendmsg>("sendmsg")(here.get(), &message, 0), static_cast<ssize_t>(sizeof text));
  char heard[64];
  EXPECT_EQ(::recv(there.get(), heard, sizeof heard, 0), static_cast<ssize_t>(sizeof text));
  EXPECT_STREQ(heard, text);
}

TEST_F(LensCalls, OtherScansAndOtherCallsReachTheKernel) {
  if (!kernel_scans()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  own({{page(0), kPages}});
  area_[0] = 1;
  const auto ioctl = call<Ioctl>("ioctl");
  PageRegion region{};
  ScanArg arg{};
  arg.size = sizeof arg;
  arg.start = page(0).value;
  arg.end = page(1).value;
  arg.vec = reinterpret_cast<uint64_t>(&region);
  arg.vec_len = 1;
  arg.category_mask = arg.return_mask = kPresent;  // another question
  EXPECT_EQ(ioctl(pagemap_.get(), kPagemapScan, &arg), 1);
  EXPECT_LT(ioctl(pagemap_.get(), kPagemapScan, nullptr), 0);
  int pending = -1;
  auto [one, other] = packet_pair();
  EXPECT_EQ(ioctl(one.get(), FIONREAD, &pending), 0);
  EXPECT_EQ(pending, 0);
}

TEST_F(LensCalls, SmapsIsTheTextAndEverythingElseIsItself) {
  must(write_lens(directory_.path(), ::getpid(), {}, "a text"));
  load();
  const auto openat = call<Openat>("openat64");
  const std::string pid = std::to_string(::getpid());
  const ScopedFd proc = must(open_file("/proc", O_RDONLY | O_DIRECTORY));
  const ScopedFd own = must(open_file("/proc/" + pid, O_PATH | O_DIRECTORY));
  auto text_of = [](int fd) { return must(read_fd(ScopedFd(fd).get())); };
  EXPECT_EQ(text_of(openat(own.get(), "smaps", O_RDONLY)), "a text");
  EXPECT_EQ(text_of(openat(proc.get(), (pid + "/smaps").c_str(), O_RDONLY)), "a text");
  EXPECT_EQ(text_of(openat(AT_FDCWD, ("/proc/" + pid + "/smaps").c_str(), O_RDONLY)), "a text");
  EXPECT_EQ(text_of(openat(own.get(), "comm", O_RDONLY)), must(read_file("/proc/self/comm")));
  const TestProcess other([] { ::pause(); });  // nothing is said about that one
  EXPECT_NE(text_of(openat(AT_FDCWD, ("/proc/" + std::to_string(other.pid()) + "/smaps").c_str(), O_RDONLY)), "a text");
  const std::string file = (directory_ / "new").string();
  const ScopedFd made(openat(AT_FDCWD, file.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0640));
  EXPECT_TRUE(made);
  EXPECT_EQ(static_cast<unsigned>(std::filesystem::status(file).permissions()), 0640u);
}

// Every answer is the kernel's: of sockets and other files, watched under their number or a duplicate's, closed since,
// and of epoll descriptors whose targets have the same number twice.
TEST_F(LensCalls, WhatAnEpollDescriptorWatchesIsWhatTheKernelSays) {
  own({});
  const auto syscall = call<long (*)(long, ...)>("syscall");
  constexpr int kEpollTarget = 7;
  struct Slot {
    uint32_t epoll, fd, offset;
  };
  const ScopedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  std::vector<ScopedFd> files;
  auto watch = [&](int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), 0);
  };
  for (int i = 0; i < 40; ++i) {
    int ends[2];
    ASSERT_EQ(i % 2 == 0 ? ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : ::pipe(ends), 0);
    files.emplace_back(ends[0]);
    files.emplace_back(ends[1]);
    watch(ends[0]);
    if (i % 8 == 0) {  // the same file, and then another one, under one number
      const int other = ::dup(ends[0]);
      watch(other);
      ASSERT_EQ(::dup2(ends[1], other), other);
      watch(other);
      files.emplace_back(other);
    }
  }
  const pid_t self = ::getpid();
  size_t same = 0;
  for (const ScopedFd& watched : files)
    for (const ScopedFd& open : files)
      for (uint32_t offset = 0; offset < 2; ++offset) {
        const Slot slot{static_cast<uint32_t>(epoll.get()), static_cast<uint32_t>(watched.get()), offset};
        const long kernels = ::syscall(SYS_kcmp, self, self, kEpollTarget, open.get(), &slot);
        const long lenss = syscall(SYS_kcmp, self, self, kEpollTarget, open.get(), &slot);
        EXPECT_EQ(lenss, kernels) << watched.get() << ' ' << open.get() << ' ' << offset;
        same += kernels == 0 ? 1 : 0;
      }
  EXPECT_GE(same, 40u);
}

// What CRIU uses of fdinfo, read by the steps by which it looks at a copy of a process' descriptor.
struct Fdinfo {
  std::string pos, flags, mount;
  bool operator==(const Fdinfo&) const = default;
};

Fdinfo parse_fdinfo(const std::string& text) {
  Fdinfo info;
  for (const std::string& line : split_lines(text)) {
    if (line.starts_with("pos:")) info.pos = line;
    if (line.starts_with("flags:")) info.flags = line;
    if (line.starts_with("mnt_id:")) info.mount = line;
  }
  return info;
}

TEST_F(LensCalls, TheFdinfoOfDescriptorsIsWhatTheKernelSays) {
  std::vector<ScopedFd> files;
  for (int i = 0; i < 50; ++i) {
    int ends[2];
    const int nonblocking = i % 3 == 0 ? SOCK_NONBLOCK : 0;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | nonblocking, 0, ends), 0);
    files.emplace_back(ends[0]);
    files.emplace_back(ends[1]);
    if (i % 10 == 0) files.push_back(must(open_file("/proc/self/exe", O_RDONLY)));
    if (i % 10 == 5) files.emplace_back(::epoll_create1(0));
    if (i % 10 == 7) files.emplace_back(::dup(ends[0]));
  }
  const ScopedFd epoll(::epoll_create1(0));
  for (const ScopedFd& file : files) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    (void)::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, file.get(), &event);
  }
  const TestProcess process([] { ::pause(); });
  own({});
  must(write_lens_unlocked_sockets(directory_.path()));
  const std::string directory = "/proc/" + std::to_string(process.pid());
  const ScopedFd proc = must(open_file(directory, O_PATH | O_DIRECTORY));
  const ScopedFd self = must(open_file("/proc/self", O_PATH | O_DIRECTORY));
  const auto openat = call<Openat>("openat64");
  auto read_through = [&](int at, int number) {
    const int fd = openat(at, ("fdinfo/" + std::to_string(number)).c_str(), O_RDONLY);
    EXPECT_GE(fd, 0);
    std::string text;
    char buffer[1000];
    for (ssize_t got; (got = call<ssize_t (*)(int, void*, size_t)>("read")(fd, buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<size_t>(got));
    EXPECT_EQ(call<int (*)(int)>("close")(fd), 0);
    return text;
  };
  auto look_at = [&](int copy) {
    struct stat64 facts{};
    struct statfs64 filesystem{};
    EXPECT_EQ(call<int (*)(int, struct stat64*)>("fstat64")(copy, &facts), 0);
    EXPECT_EQ(call<int (*)(int, struct statfs64*)>("fstatfs64")(copy, &filesystem), 0);
  };
  // The process has the same numbers; the copies are this process' own.
  for (const ScopedFd& file : files) {
    look_at(file.get());
    EXPECT_EQ(parse_fdinfo(read_through(proc.get(), file.get())),
              parse_fdinfo(must(read_file(directory + "/fdinfo/" + std::to_string(file.get())))));
  }
  look_at(epoll.get());
  const std::string whole = must(read_file(directory + "/fdinfo/" + std::to_string(epoll.get())));
  EXPECT_EQ(read_through(proc.get(), epoll.get()), whole);
  EXPECT_EQ(read_through(self.get(), epoll.get()), whole);
  // Not looked at before: the kernel is asked.
  EXPECT_EQ(read_through(proc.get(), files[0].get()),
            must(read_file(directory + "/fdinfo/" + std::to_string(files[0].get()))));
}

TEST_F(LensCalls, WhereDescriptorsAreLookedAtInAnotherOrderTheKernelIsAsked) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const ScopedFd one(ends[0]), other(ends[1]);
  ASSERT_EQ(::fcntl(other.get(), F_SETFL, O_NONBLOCK), 0);
  const TestProcess process([] { ::pause(); });
  own({});
  const std::string directory = "/proc/" + std::to_string(process.pid());
  const ScopedFd proc = must(open_file(directory, O_PATH | O_DIRECTORY));
  struct statfs64 filesystem{};
  EXPECT_EQ(call<int (*)(int, struct statfs64*)>("fstatfs64")(one.get(), &filesystem), 0);
  const std::string path = "fdinfo/" + std::to_string(other.get());
  const ScopedFd fd(call<Openat>("openat64")(proc.get(), path.c_str(), O_RDONLY));
  EXPECT_EQ(must(read_fd(fd.get())), must(read_file(directory + "/" + path)));
}

TEST_F(LensCalls, TheAgentIsToldOfTheFirstConnectionAndCriuWaitsForIt) {
  load();
  std::atomic<int> told = 0;
  auto watch = must(SocketDumpWatch::start(directory_.path(), [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++told;
  }));
  const auto set = call<Setsockopt>("setsockopt");
  const ScopedFd first(::socket(AF_INET, SOCK_STREAM, 0)), second(::socket(AF_INET, SOCK_STREAM, 0));
  const int on = 1, off = 0;
  EXPECT_EQ(set(first.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
  EXPECT_EQ(set(first.get(), IPPROTO_TCP, TCP_REPAIR, &off, sizeof off), 0);
  EXPECT_EQ(told, 0);
  EXPECT_EQ(set(first.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), 0);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(set(second.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), 0);
  EXPECT_EQ(told, 1);

  load();
  watch.reset();
  EXPECT_EQ(call<Setsockopt>("setsockopt")(second.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), 0);
}

TEST_F(LensCalls, CriusDirectoryForCoveredMountsIsOnATmpfs) {
  load();
  const auto mkdtemp = call<Mkdtemp>("mkdtemp");
  char name[] = "/tmp/cr-tmpfs.XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  struct statfs facts{};
  EXPECT_EQ(::statfs(name, &facts), 0);
  EXPECT_EQ(static_cast<unsigned long>(facts.f_type), 0x01021994ul) << name;
  EXPECT_EQ(::rmdir(name), 0);
  std::string other = (directory_ / "otherXXXXXX").string();
  ASSERT_NE(mkdtemp(other.data()), nullptr);
  EXPECT_TRUE(other.starts_with(directory_.path().string()));
  EXPECT_TRUE(std::filesystem::is_directory(other));
  char odd[] = "odd";
  EXPECT_EQ(mkdtemp(odd), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(LensCalls, ThereIsNoDataInSharedMemoryThatIsOwned) {
  const ScopedFd owned(::memfd_create("owned", MFD_CLOEXEC)), other(::memfd_create("other", MFD_CLOEXEC));
  struct stat facts{};
  ASSERT_EQ(::fstat(owned.get(), &facts), 0);
  for (const ScopedFd* file : {&owned, &other}) ASSERT_EQ(::pwrite(file->get(), "x", 1, 5 * kPageBytes), 1);
  must(write_lens_objects(directory_.path(), {{facts.st_dev, facts.st_ino}, {facts.st_dev + 1, facts.st_ino + 1}}));
  load();
  const auto lseek = call<Lseek>("lseek64");
  EXPECT_EQ(lseek(owned.get(), 0, SEEK_DATA), -1);
  EXPECT_EQ(errno, ENXIO);
  EXPECT_EQ(lseek(owned.get(), 2, SEEK_SET), 2);
  EXPECT_EQ(lseek(owned.get(), 0, SEEK_END), 5 * kPageBytes + 1);
  EXPECT_EQ(lseek(other.get(), 0, SEEK_DATA), 5 * kPageBytes);
}

}  // namespace
}  // namespace godwit
