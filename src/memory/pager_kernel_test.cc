// The pager against real processes that register a userfaultfd as CRIU's restorer does and check what they read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <deque>
#include <random>
#include <thread>

#include "base/test_support.h"
#include "base/unix_socket.h"
#include "kernel/memory_maps.h"
#include "kernel/pagemap_scan.h"
#include "memory/pager.h"

namespace godwit {
namespace {

constexpr RemoteAddr kBase{0x300000000000};
constexpr SpaceId kSpace = 7;

uint64_t word_of(uint64_t address) { return (address / 8 * 0x9E3779B97F4A7C15) | 1; }

void fill_pattern(std::span<std::byte> bytes, RemoteAddr at) {
  for (uint64_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = word_of(at.value + i);
    std::memcpy(bytes.data() + i, &word, 8);
  }
}

// ORIGIN 0: zeros.
bool holds(uint64_t at, uint64_t origin) {
  const auto* words = reinterpret_cast<const volatile uint64_t*>(at);
  for (uint64_t i = 0; i < kPageBytes / 8; ++i)
    if (words[i] != (origin == 0 ? 0 : word_of(origin + i * 8))) return false;
  return true;
}

enum class Kind { kZero, kStored, kOwed };
Kind kind_of_page(uint64_t page) {
  return page % 7 == 3 ? Kind::kZero : page / 5 % 3 == 1 ? Kind::kOwed : Kind::kStored;
}
uint64_t origin_of(uint64_t page) { return kind_of_page(page) == Kind::kZero ? 0 : kBase.value + page * kPageBytes; }

[[noreturn]] void restored(const std::filesystem::path& socket_path, int go, int ready, uint64_t bytes, uint64_t vmas,
                           const std::function<bool()>& body) {
  void* area = ::mmap(reinterpret_cast<void*>(kBase.value), bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) ::_exit(90);
  ::madvise(area, bytes, MADV_NOHUGEPAGE);
  for (uint64_t i = 1; i < vmas; i += 2)
    ::madvise(static_cast<char*>(area) + i * (bytes / vmas / kPageBytes * kPageBytes), kPageBytes * 3, MADV_DONTDUMP);
  char byte;
  if (::read(go, &byte, 1) != 1) ::_exit(91);
  const int uffd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  uffdio_api api{.api = UFFD_API,
                 .features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
                             UFFD_FEATURE_EVENT_REMOVE,
                 .ioctls = 0};
  if (uffd < 0 || ::ioctl(uffd, UFFDIO_API, &api) != 0) ::_exit(92);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, socket_path.c_str());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) ::_exit(93);
  const int pid = kSpace;
  if (::send(socket, &pid, sizeof pid, 0) != sizeof pid || !send_packet(socket, std::string(1, 'x'), {uffd}))
    ::_exit(94);
  uffdio_register registration{
      .range = {.start = kBase.value, .len = bytes}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
  if (::ioctl(uffd, UFFDIO_REGISTER, &registration) != 0) ::_exit(95);
  ::close(uffd);
  const uint32_t finished = 0x52535446;
  if (::send(socket, &finished, sizeof finished, 0) != sizeof finished) ::_exit(96);
  ::close(socket);
  // As at post-restore: nothing runs before it is said.
  if (::write(ready, "r", 1) != 1) ::_exit(98);
  if (::read(go, &byte, 1) != 1) ::_exit(97);
  ::_exit(body() ? 0 : 1);
}

// A container of one process with PAGES pages, some owed, and the source that answers for those.
class Scene {
 public:
  Scene(uint64_t pages, const std::function<bool()>& body, uint64_t vmas = 1, bool all_stored = false)
      : pages_(pages), all_stored_(all_stored) {
    int go[2], ready[2];
    if (::pipe2(go, O_CLOEXEC) != 0 || ::pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    process_ = ::fork();
    if (process_ == 0) {
      ::close(go[1]);
      restored(directory_ / "lazy-pages.socket", go[0], ready[1], pages * kPageBytes, vmas, body);
    }
    ::close(go[0]);
    ::close(ready[1]);
    go_ = ScopedFd(go[1]);
    const ScopedFd registered(ready[0]);
    store_ = must(PageStore::create(pages * kPageBytes));
    put();
    pager_ = must(Pager::start(settings(), directory_ / "lazy-pages.socket"));
    pager_->begin();
    tell();
    must(pager_->await_spaces(in_ms(10000)));
    char byte;
    if (::read(registered.get(), &byte, 1) != 1) throw std::runtime_error("the process has ended");
  }
  ~Scene() {
    stop_source();
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }
  void tell() {
    if (::write(go_.get(), "g", 1) != 1) throw std::runtime_error("pipe");
  }
  // Answers requests, and pushes the rest in a random order.
  void start_source(uint64_t seed, bool push = true) {
    source_ = std::jthread([this, seed, push] { run_source(seed, push); });
  }
  void stop_source() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    if (source_.joinable()) source_.join();
    stopping_ = false;
    asked_.clear();
  }
  int wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  // The pager is killed, and another one takes its place. What had come and was not in its place is lost. Unless it is
  // the LAST one, nothing comes but what is waited for.
  void replace_pager(uint64_t seed, bool last) {
    stop_source();
    pager_.reset();
    all_owed_ = true;
    store_ = must(PageStore::create(pages_ * kPageBytes));
    log_ = must(PagerLog::reopen(ScopedFd(::fcntl(log_->fd(), F_DUPFD_CLOEXEC, 0))));
    must(log_->finish_reading());
    std::map<int, ScopedFd> uffds;
    for (const auto& [number, uffd] : held_) uffds[number] = ScopedFd(::fcntl(uffd.get(), F_DUPFD_CLOEXEC, 0));
    pager_ = must(Pager::take_over(settings(), must(log_->history()), uffds));
    pager_->settle_present(kSpace, present());
    pager_->begin_serving();
    if (last) pager_->begin_fill();
    start_source(seed, last);
  }
  // Waits until the storm has asked for some pages.
  void await_faults(uint64_t count) {
    const Deadline deadline = in_ms(10000);
    while (pager_->figures().faults < count && !pager_->await_complete(Clock::now()) && Clock::now() < deadline)
      std::this_thread::yield();
  }
  void report() {
    const auto f = pager_->figures();
    std::printf("  refused %lu faults %lu owed %lu p50 %.0f p99 %.0f max %.0f us\n", f.pages_refused, f.faults,
                f.faults_owed, f.fault_p50_us, f.fault_p99_us, f.fault_max_us);
  }
  Pager& pager() { return *pager_; }
  PageStore& store() { return *store_; }

 private:
  Pager::Settings settings() {
    return {.store = *store_,
            .request = [this](SpaceId, const PageRange& range) { asked(range); },
            .hold = [this](int number, int uffd) { held_[number] = ScopedFd(::fcntl(uffd, F_DUPFD_CLOEXEC, 0)); },
            .drop = [this](int number) { held_.erase(number); },
            .log = log_.get()};
  }
  // Of the process itself: what is there where a userfaultfd is asked for missing pages.
  PageRanges present() const {
    PageRanges found;
    const auto mappings = read_smaps(process_);
    const auto scan = PagemapScan::open(process_);
    if (!mappings || !scan) return found;  // it has ended
    for (const Mapping& mapping : *mappings)
      if (mapping.has_flag("um"))
        (void)scan->find({.any_of = kPagePresent | kPageSwapped}, mapping.start, mapping.end, found);
    return found;
  }
  Kind kind(uint64_t page) const { return all_stored_ ? Kind::kStored : kind_of_page(page); }
  void put() {
    std::vector<RegionMap> maps;
    for (uint64_t page = 0; page < pages_; ++page) {
      const RemoteAddr at = kBase + page * kPageBytes;
      if (page % kRegionPages == 0) maps.push_back({.start = at, .present = {}, .owed = {}});
      if (kind(page) != Kind::kZero || page % 2 == 0) {  // a stale copy in owed pages; some zero pages absent
        std::vector<std::span<std::byte>> parts;
        must(store_->place(kSpace, {at, 1}, parts));
        fill_pattern(parts.front(), kind(page) == Kind::kStored ? at : RemoteAddr{8});
      }
      if (kind(page) != Kind::kZero) maps.back().present.set(page % kRegionPages);
      if (kind(page) == Kind::kOwed) maps.back().owed.set(page % kRegionPages);
    }
    must(store_->apply_map(kSpace, maps));
  }
  void asked(PageRange range) {
    std::lock_guard lock(mutex_);
    for (uint64_t i = 0; i < range.pages; ++i) asked_.push_back((range.start - kBase) / kPageBytes + i);
  }
  void run_source(uint64_t seed, bool push) {
    std::mt19937_64 random(seed);
    std::vector<uint64_t> owed;
    for (uint64_t page = 0; page < pages_ && push; ++page)
      if (kind(page) == Kind::kOwed || (all_owed_ && kind(page) == Kind::kStored)) owed.push_back(page);
    std::shuffle(owed.begin(), owed.end(), random);
    std::vector<std::byte> bytes(kPageBytes);
    for (size_t next = 0;;) {
      std::optional<uint64_t> page;
      {
        std::lock_guard lock(mutex_);
        if (stopping_) return;
        if (!asked_.empty()) {
          page = asked_.front();
          asked_.pop_front();
        }
      }
      if (!page && next < owed.size()) page = owed[next++];
      if (!page) {
        std::this_thread::yield();
        continue;
      }
      fill_pattern(bytes, kBase + *page * kPageBytes);
      must(pager_->deliver(kSpace, {kBase + *page * kPageBytes, 1}, bytes));
    }
  }

  const uint64_t pages_;
  const bool all_stored_;
  bool all_owed_ = false;
  ScopedDirectory directory_;
  std::unique_ptr<PagerLog> log_ = must(PagerLog::create(""));
  std::map<int, ScopedFd> held_;  // as memory_keeper does
  ScopedFd go_;
  pid_t process_ = -1;
  std::unique_ptr<PageStore> store_;
  std::mutex mutex_;
  std::deque<uint64_t> asked_;
  bool stopping_ = false;
  std::unique_ptr<Pager> pager_;
  std::jthread source_;
};

TEST(Pager, ThreadsReadWhatTheSourceHadWhileItIsFilled) {
  constexpr uint64_t kPages = 16384;
  Scene scene(
      kPages,
      [] {
        std::atomic<bool> good = true;
        std::vector<std::jthread> threads;
        for (uint64_t t = 0; t < 3; ++t)
          threads.emplace_back([t, &good] {
            std::mt19937_64 random(t);
            for (int i = 0; i < 4000; ++i) {
              const uint64_t page = random() % kPages;
              if (!holds(kBase.value + page * kPageBytes, origin_of(page))) good = false;
            }
          });
        threads.clear();
        for (uint64_t page = 0; page < kPages; ++page)
          if (!holds(kBase.value + page * kPageBytes, origin_of(page))) good = false;
        return good.load();
      },
      9);
  scene.start_source(1);
  scene.pager().begin_fill();
  scene.tell();
  EXPECT_EQ(scene.wait(), 0);
  EXPECT_TRUE(scene.pager().await_complete(in_ms(10000)));
  EXPECT_EQ(scene.pager().figures().pages_refused, 0u);
  scene.report();
}

TEST(Pager, FaultsAreServedBeforeTheFillBegins) {
  Scene scene(2048,
              [] { return holds(kBase.value, origin_of(0)) && holds(kBase.value + 5 * kPageBytes, origin_of(5)); });
  scene.start_source(1);
  scene.tell();
  EXPECT_EQ(scene.wait(), 0);
  scene.pager().begin_fill();
  EXPECT_TRUE(scene.pager().await_complete(in_ms(10000)));
}

// What the storm knows of its memory: where each page of the source is now (0: nowhere), and what it holds.
struct Storm {
  std::mt19937_64 random;
  struct Page {
    bool mapped = true;
    uint64_t origin = 0;  // 0: zeros
  };
  std::map<uint64_t, Page> pages;  // by address
  uint64_t fresh = kBase.value + (uint64_t{1} << 32);

  bool check(uint64_t at) { return holds(at, pages.at(at).origin); }
  uint64_t some() {
    auto at = pages.lower_bound(kBase.value + random() % (pages.rbegin()->first - kBase.value + 1));
    if (at == pages.end()) at = pages.begin();
    return at->first;
  }
  uint64_t run(uint64_t at, uint64_t limit) {
    uint64_t count = 1;
    while (count < limit && pages.contains(at + count * kPageBytes)) ++count;
    return count;
  }
  bool step(int depth);
  bool all() {
    for (const auto& [at, page] : pages)
      if (!holds(at, page.origin)) return false;
    return true;
  }
};

bool Storm::step(int depth) {
  const uint64_t what = random() % 1000;
  const uint64_t at = some();
  void* const pointer = reinterpret_cast<void*>(at);
  if (what < 800) return check(at);
  const uint64_t count = run(at, 1 + random() % 24);
  if (what < 870) {
    if (::madvise(pointer, count * kPageBytes, MADV_DONTNEED) != 0) return false;
    for (uint64_t i = 0; i < count; ++i) pages[at + i * kPageBytes].origin = 0;
    return true;
  }
  if (what < 920) {
    if (pages.size() < 1000) return true;
    if (::munmap(pointer, count * kPageBytes) != 0) return false;
    for (uint64_t i = 0; i < count; ++i) pages.erase(at + i * kPageBytes);
    return true;
  }
  if (what < 990) {
    // One mapping at a time: the rest of the run may belong to another.
    void* to = ::mremap(pointer, kPageBytes, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(fresh));
    if (to == MAP_FAILED) return false;
    pages[fresh] = pages.at(at);
    pages.erase(at);
    fresh += kPageBytes * (1 + random() % 3);
    return true;
  }
  if (depth >= 2) return true;
  const pid_t child = ::fork();
  if (child == 0) {
    random.seed(random() + 1);
    bool good = true;
    for (int i = 0; i < 200 && good; ++i) good = step(depth + 1);
    ::_exit(good && (random() % 2 == 0 || all()) ? 0 : 1);
  }
  int status = 1;
  if (random() % 4 != 0) {
    for (int i = 0; i < 50; ++i)
      if (!check(some())) return false;
  }
  ::waitpid(child, &status, 0);
  return status == 0;
}

TEST(Pager, StormOfMappingsAndForksReadsWhatItShould) {
  for (int round = 0; round < 6; ++round) {
    const uint64_t seed = std::random_device()();
    std::printf("  seed %lu\n", seed);
    constexpr uint64_t kPages = 8192;
    Scene scene(kPages, [&] {
      Storm storm{.random = std::mt19937_64(seed), .pages = {}};
      for (uint64_t page = 0; page < kPages; ++page)
        storm.pages[kBase.value + page * kPageBytes] = {.mapped = true, .origin = origin_of(page)};
      for (int i = 0; i < 3000; ++i)
        if (!storm.step(0)) return false;
      return round % 3 == 2 || storm.all();  // or it ends with pages missing
    });
    scene.start_source(seed);
    if (round % 2 == 0) scene.pager().begin_fill();
    scene.tell();
    if (round % 2 != 0) scene.pager().begin_fill();
    EXPECT_EQ(scene.wait(), 0);
    EXPECT_TRUE(scene.pager().await_complete(in_ms(20000)));
    EXPECT_EQ(scene.pager().figures().pages_refused, 0u);
    scene.report();
  }
}

// Nothing is known then but the log, the kernel's word and the source.
TEST(Pager, StormGoesOnWithAnotherPagerWhenOneIsKilled) {
  for (int round = 0; round < 4; ++round) {
    const uint64_t seed = std::random_device()();
    std::printf("  seed %lu\n", seed);
    constexpr uint64_t kPages = 8192;
    Scene scene(kPages, [&] {
      Storm storm{.random = std::mt19937_64(seed), .pages = {}};
      for (uint64_t page = 0; page < kPages; ++page)
        storm.pages[kBase.value + page * kPageBytes] = {.mapped = true, .origin = origin_of(page)};
      for (int i = 0; i < 3000; ++i)
        if (!storm.step(0)) return false;
      return storm.all();
    });
    scene.start_source(seed, false);
    if (round % 2 == 0) scene.pager().begin_fill();
    scene.tell();
    constexpr int kKills = 8;
    for (int kill = 1; kill <= kKills; ++kill) {
      scene.await_faults(100);
      scene.report();
      scene.replace_pager(seed + kill, kill == kKills);
    }
    EXPECT_EQ(scene.wait(), 0);
    EXPECT_TRUE(scene.pager().await_complete(in_ms(20000)));
    scene.report();
  }
}

TEST(Pager, ALogThatDoesNotFitTheUserfaultfdsIsRefused) {
  Scene scene(2048, [] { return true; });
  auto log = must(PagerLog::create(""));
  log->map(kSpace, {});
  log->step({.kind = PagerStep::Kind::kSpace, .number = 0, .to = kSpace, .pages = {}, .place = {}});
  auto taken = [&](const PagerHistory& history, int number) {
    std::map<int, ScopedFd> uffds;
    uffds[number] = ScopedFd(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    auto fresh = must(PageStore::create(kRegionBytes));
    return Pager::take_over({.store = *fresh, .request = [](SpaceId, const PageRange&) {}}, history, uffds).has_value();
  };
  const PagerHistory good = must(log->history());
  EXPECT_FALSE(taken(good, 1));  // another one than is known
  PagerHistory odd = good;
  odd.steps.push_back(odd.steps[0]);
  EXPECT_FALSE(taken(odd, 0));
  odd = good;
  odd.steps[0].to = kSpace + 1;
  EXPECT_FALSE(taken(odd, 0));
  odd = good;
  odd.steps.push_back({.kind = PagerStep::Kind::kFork, .number = 3, .to = 4, .pages = {}, .place = {}});
  EXPECT_FALSE(taken(odd, 0));
  odd = good;
  odd.steps.clear();
  EXPECT_FALSE(taken(odd, 0));
}

// mremap tells first that memory has moved, and once that has been read, that nothing is left where it was. Another
// thread can have moved something else there meanwhile.
TEST(Pager, MemoryThatMovesToWhereOtherMemoryHasJustLeftIsKept) {
  constexpr uint64_t kPages = 2048;
  constexpr uint64_t kMoves = 200;
  Scene scene(kPages, [] {
    const uint64_t middle = kBase.value + kPages / 2 * kPageBytes;
    const uint64_t away = kBase.value + (uint64_t{1} << 32);
    auto move = [](uint64_t from, uint64_t to) {
      void* const there = reinterpret_cast<void*>(to);
      return ::mremap(reinterpret_cast<void*>(from), kPageBytes, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED, there) ==
             there;
    };
    std::atomic<bool> good = true;
    std::jthread leaves([&] {
      for (uint64_t i = 0; i < kMoves; ++i)
        if (!move(kBase.value + i * kPageBytes, away + i * kPageBytes)) good = false;
    });
    for (uint64_t i = 0; i < kMoves && good; ++i) {
      void* const there = reinterpret_cast<void*>(kBase.value + i * kPageBytes);
      while (::mmap(there, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != there) {
      }
      if (!move(middle + i * kPageBytes, kBase.value + i * kPageBytes)) return false;
    }
    leaves.join();
    for (uint64_t i = 0; i < kMoves; ++i) {
      if (!holds(kBase.value + i * kPageBytes, origin_of(kPages / 2 + i))) return false;
      if (!holds(away + i * kPageBytes, origin_of(i))) return false;
    }
    return good.load();
  });
  scene.start_source(1);
  scene.tell();
  EXPECT_EQ(scene.wait(), 0);
  scene.pager().begin_fill();
  EXPECT_TRUE(scene.pager().await_complete(in_ms(10000)));
}

// Its end is noticed when the next page comes for it.
TEST(Pager, AProcessThatEndsWhilePagesAreOwedIsGivenUp) {
  Scene scene(2048, [] { return true; });
  scene.pager().begin_fill();
  scene.tell();
  EXPECT_EQ(scene.wait(), 0);
  scene.start_source(1);
  EXPECT_TRUE(scene.pager().await_complete(in_ms(10000)));
}

TEST(Pager, FillRateAgainstFirstTouch) {
  constexpr uint64_t kBytes = uint64_t{1} << 30;
  void* fresh = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ::madvise(fresh, kBytes, MADV_NOHUGEPAGE);
  Stopwatch touch;
  std::memset(fresh, 1, kBytes);
  const double touch_ms = touch.ms();
  ::munmap(fresh, kBytes);
  Scene scene(kBytes / kPageBytes, [] { return true; }, 1, true);
  Stopwatch fill;
  scene.pager().begin_fill();
  ASSERT_TRUE(scene.pager().await_complete(in_ms(60000)));
  const double fill_ms = fill.ms();
  std::printf("  first touch %.2f GB/s, fill %.2f GB/s, ratio %.2f\n", 1e-6 * kBytes / touch_ms,
              1e-6 * kBytes / fill_ms, touch_ms / fill_ms);
  scene.tell();
  EXPECT_EQ(scene.wait(), 0);
}

}  // namespace
}  // namespace godwit
