// Processes with several threads that map, unmap, move, protect, write, fork and exec at random while rounds run.
// GODWIT_STORM_SEED repeats a run as far as the scheduler lets it; GODWIT_STORM_SECONDS makes it longer.
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cstdio>
#include <random>

#include "memory/test_container.h"

namespace godwit {
namespace {

enum Word { kSteps, kForks, kExecs, kLiveForks };

constexpr size_t kSlots = 24;
constexpr size_t kPagesMax = 200;
constexpr int kThreads = 3;
constexpr uint64_t kLiveForksMax = 3;

// One thread's memory, and what it does to it. Uses no memory but its own: it goes on in forked children.
class Storm {
 public:
  Storm(const Board& board, uint64_t seed, bool first) : board_(&board), state_(seed), first_(first) {}

  void run(uint64_t steps) {
    for (uint64_t step = 0; step < steps; ++step) {
      this->step();
      board_->operator[](kSteps).fetch_add(1, std::memory_order_relaxed);
    }
  }

 private:
  struct Slot {
    char* at = nullptr;
    size_t pages = 0;
    int protection = 0;
  };

  uint64_t random(uint64_t below) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return (state_ >> 11) % below;
  }

  void step() {
    Slot& slot = slots_[random(kSlots)];
    if (slot.at == nullptr) return map(slot);
    const uint64_t kind = random(100);
    if (kind < 50) return write(slot, 1 + random(16));
    if (kind < 55) return write(slot, slot.pages);
    if (kind < 60) return look(slot);
    if (kind < 67) return unmap_part(slot);
    if (kind < 74) return move(slot);
    if (kind < 81) return protect(slot);
    if (kind < 92) return advise(slot);
    if (kind < 94) return move_heap();
    if (kind < 95 && random(10) == 0) return fork();
    ::usleep(static_cast<useconds_t>(random(2000)));
  }

  void map(Slot& slot) {
    const bool huge = random(12) == 0;
    const size_t pages = huge ? 2 * kRegionPages : 1 + random(kPagesMax);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (random(4) == 0 ? MAP_NORESERVE : 0);
    void* at = ::mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED) return;
    if (huge) ::madvise(at, pages * kPageBytes, MADV_HUGEPAGE);
    slot = {static_cast<char*>(at), pages, PROT_READ | PROT_WRITE};
  }
  void write(Slot& slot, size_t count) {
    if ((slot.protection & PROT_WRITE) == 0) return;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t value = random(~uint64_t{0} >> 12);
      char* page = slot.at + (count == slot.pages ? i : random(slot.pages)) * kPageBytes;
      std::memcpy(page + random(kPageBytes / 8) * 8, &value, sizeof value);
    }
  }
  void look(Slot& slot) {
    if ((slot.protection & PROT_READ) == 0) return;
    for (size_t i = 0; i < 8; ++i) (void)*const_cast<volatile char*>(slot.at + random(slot.pages) * kPageBytes);
  }
  // The whole, the end, or the start.
  void unmap_part(Slot& slot) {
    const size_t pages = 1 + random(slot.pages);
    const bool end = random(2) == 0;
    if (::munmap(slot.at + (end ? slot.pages - pages : 0) * kPageBytes, pages * kPageBytes) != 0) return;
    slot.pages -= pages;
    if (!end) slot.at += pages * kPageBytes;
    if (slot.pages == 0) slot = {};
  }
  void move(Slot& slot) {
    const bool to_place = random(2) == 0;
    const size_t pages = to_place || random(2) == 0 ? slot.pages : 1 + random(kPagesMax);
    int flags = MREMAP_MAYMOVE;
    void* place = nullptr;
    if (to_place) {
      place = ::mmap(nullptr, pages * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (place == MAP_FAILED) return;
      flags |= MREMAP_FIXED;
    }
    // With MREMAP_DONTUNMAP the old place stays, empty: it is unmapped here.
    const bool keep = pages == slot.pages && random(3) == 0;
    if (keep) flags |= MREMAP_DONTUNMAP;
    void* at = ::mremap(slot.at, slot.pages * kPageBytes, pages * kPageBytes, flags, place);
    if (at == MAP_FAILED) {
      // What of it was moved, and whether the place is still ours, is not known: both are left behind.
      if (to_place) ::madvise(slot.at, slot.pages * kPageBytes, MADV_DONTNEED), slot = {};
      return;
    }
    if (keep) {
      const Slot old = slot;
      slot.at = static_cast<char*>(at);
      if ((old.protection & PROT_WRITE) != 0) write(const_cast<Slot&>(old), 3);
      ::munmap(old.at, old.pages * kPageBytes);
    }
    slot.at = static_cast<char*>(at);
    slot.pages = pages;
  }
  void protect(Slot& slot) {
    constexpr std::array kProtections{PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, int{PROT_NONE}};
    const int protection = kProtections[random(kProtections.size())];
    // A part for a moment, so that mappings are split, and then the whole.
    ::mprotect(slot.at, (1 + random(slot.pages)) * kPageBytes, protection);
    const bool whole = ::mprotect(slot.at, slot.pages * kPageBytes, protection) == 0;
    slot.protection = whole ? protection : PROT_NONE;
  }
  void advise(Slot& slot) {
    constexpr std::array kAdvice{MADV_DONTNEED,   MADV_DONTNEED,     MADV_FREE,    MADV_HUGEPAGE,
                                 MADV_NOHUGEPAGE, 25 /* COLLAPSE */, MADV_PAGEOUT, MADV_COLD};
    const size_t from = random(slot.pages);
    ::madvise(slot.at + from * kPageBytes, (1 + random(slot.pages - from)) * kPageBytes,
              kAdvice[random(kAdvice.size())]);
  }
  // Only one thread, of those that share the heap.
  void move_heap() {
    if (!first_) return;
    const size_t pages = 1 + random(100);
    if (heap_pages_ > 400 || random(3) == 0) {
      const size_t less = std::min(pages, heap_pages_);
      if (::sbrk(-static_cast<intptr_t>(less * kPageBytes)) != reinterpret_cast<void*>(-1)) heap_pages_ -= less;
      return;
    }
    void* at = ::sbrk(static_cast<intptr_t>(pages * kPageBytes));
    if (at == reinterpret_cast<void*>(-1)) return;
    heap_pages_ += pages;
    std::memset(at, static_cast<int>(random(256)), pages * kPageBytes / (1 + random(4)));
  }
  void fork() {
    if (board_->operator[](kLiveForks).fetch_add(1) >= kLiveForksMax) {
      board_->operator[](kLiveForks).fetch_sub(1);
      return;
    }
    const uint64_t seed = state_;
    const pid_t child = static_cast<pid_t>(::syscall(SYS_fork));
    if (child < 0) board_->operator[](kLiveForks).fetch_sub(1);
    if (child != 0) return;
    state_ = seed ^ 0x9e3779b97f4a7c15;
    board_->operator[](kForks).fetch_add(1);
    first_ = false;
    run(500 + random(5000));
    board_->operator[](kLiveForks).fetch_sub(1);
    if (random(2) == 0) ::_exit(0);
    board_->operator[](kExecs).fetch_add(1);
    ::execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do x=$x.$i; i=$((i+1)); done", nullptr);
    ::_exit(1);
  }

  const Board* board_;
  uint64_t state_;
  bool first_;
  size_t heap_pages_ = 0;
  std::array<Slot, kSlots> slots_;
};

void run_storm(const Board& board, uint64_t seed) {
  ::signal(SIGCHLD, SIG_IGN);
  (void)!::nice(10);  // so that rounds and freezes are many
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&board, seed, i] { Storm(board, seed * 1000003 + i + 1, i == 0).run(~uint64_t{0}); });
  threads[0].join();
}

bool has_userfaultfd(pid_t pid) {
  auto files = proc::open_files(pid);
  return files && std::ranges::any_of(*files, [](const proc::OpenFile& file) {
           return file.link.find("[userfaultfd]") != std::string::npos;
         });
}

TEST(MemoryStorm, EveryPageArrives) {
  const char* given = ::getenv("GODWIT_STORM_SEED");
  const char* seconds = ::getenv("GODWIT_STORM_SECONDS");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  const Deadline end = in_ms(1000 * (seconds != nullptr ? std::atoi(seconds) : 4));
  std::printf("GODWIT_STORM_SEED=%lu\n", seed);
  Board board;
  TestContainer container;
  const std::array storms{container.run([&] { run_storm(board, seed); }),
                          container.run([&] { run_storm(board, seed + 1); })};
  ASSERT_TRUE(await([&] { return board[kSteps] > 1000; }));

  auto memory = container.memory();
  auto shadow = std::make_unique<ShadowContainer>(*memory);
  std::mt19937_64 random(seed);
  uint64_t freezes = 0, rounds = 0, compared = 0, leaked = 0, untracked = 0;
  double round_ms = 0, freeze_ms = 0, verify_ms = 0;
  while (Clock::now() < end) {
    if (random() % 5 == 0) {  // a new migration
      memory = container.memory();
      shadow = std::make_unique<ShadowContainer>(*memory);
    }
    for (uint64_t round = random() % 6; round > 0; --round, ++rounds) {
      const Stopwatch watch;
      (void)shadow->round();
      round_ms += watch.ms();
      ::usleep(static_cast<useconds_t>(random() % 5000));
    }
    const Stopwatch freeze_watch;
    container.freeze();
    freeze_ms += freeze_watch.ms();
    const Stopwatch verify_watch;
    const Differences differences = shadow->verify();
    verify_ms += verify_watch.ms();
    ASSERT_TRUE(is_same(differences)) << text_of(differences);
    compared += differences.compared;
    for (const FrozenSpace& frozen : shadow->frozen()) {
      leaked += has_userfaultfd(frozen.pid);
      untracked += !frozen.tracked;
    }
    ++freezes;
    container.thaw();
  }
  std::printf("%lu steps, %lu forks, %lu execs; %lu rounds, %lu freezes, %lu pages compared, %lu without tracker\n",
              board[kSteps].load(), board[kForks].load(), board[kExecs].load(), rounds, freezes, compared, untracked);
  std::printf("%.0f ms in rounds, %.0f ms freezing, %.0f ms comparing\n", round_ms, freeze_ms, verify_ms);
  for (pid_t pid : storms) EXPECT_TRUE(container.is_member(pid)) << "the workload itself has failed";
  EXPECT_EQ(leaked, 0u) << "a fork while the descriptor was in the process";
  EXPECT_GT(board[kSteps], 1000u);
}

}  // namespace
}  // namespace godwit
