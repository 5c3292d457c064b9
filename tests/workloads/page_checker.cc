// Checks that no page is lost, torn, doubled or taken back in time, and measures how it is slowed down. --bytes of
// checked pages (checked_page.h) in --threads slices, each written by its own thread at --rate bytes per second in all
// (0: full speed), --pattern sequential or random, with huge pages if --huge is 1. With --check 1 a thread checks a
// page before it writes it again. With --own-calls 1 the first thread has asked for its system calls itself
// (prctl(PR_SET_SYSCALL_USER_DISPATCH)), and lets them all pass: such a process is not tracked.
//
// Three witnesses of what must be there lie in memory of their own, so that memory of two different times does not
// agree: the count of each page, in an ordinary array; and for each thread the sum of its writes and a hash chain over
// all of them, once in ordinary and once in locked memory.
//
// A client on --port sends
//   verify   all threads stop between two writes and everything is checked:
//            {"ok": true, "pages": …, "writes": …} or {"ok": false, "pages": …, "writes": …, "page": FIRST, "why": "…"}
//   stats    timeline.h; the unit is a page written, a stall is a write, or a wait for its turn, that took too long
//   exit     it ends; there is no answer
// Standard output: "ready".
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "checked_page.h"
#include "flags.h"
#include "line_server.h"
#include "timeline.h"
#include "turn_mutex.h"

namespace godwit::workloads {
namespace {

// A thread's history, as a sum.
struct Witness {
  uint64_t writes = 0;
  uint64_t chain = 0;

  void record(uint64_t page, uint64_t count) {
    ++writes;
    chain = mixed(chain ^ (page << 32) ^ count);
  }
};

void* map_bytes(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  return at;
}

Witness* locked_witness() {
  void* at = map_bytes(kPageBytes);
  if (mlock(at, kPageBytes) != 0) std::perror("mlock");  // then it is ordinary memory as well
  return new (at) Witness;
}

struct Verdict {
  uint64_t writes = 0;
  uint64_t page = 0;  // first bad one
  std::string why;    // empty: all is well
};

// Part of the memory, written by one thread.
class Slice {
 public:
  Slice(CheckedPage* pages, uint32_t* counts, uint64_t size, bool random, bool check)
      : pages_(pages), counts_(counts), size_(size), random_(random), check_(check), locked_(locked_witness()) {
    for (uint64_t i = 0; i < size_; ++i) write_page(pages_[i], address(i), 0);
  }

  // Writes N pages; false once one was found wrong.
  bool write(uint64_t n, Pace& pace) {
    const std::lock_guard lock(mutex_);
    auto began = Clock::now();
    for (uint64_t k = 0; k < n && verdict_.why.empty(); ++k) {
      const uint64_t i = next();
      if (check_ && !check(i)) break;
      write_page(pages_[i], address(i), ++counts_[i]);
      witness_.record(i, counts_[i]);
      locked_->record(i, counts_[i]);
      const auto ended = Clock::now();
      pace.stalls.add(began, ended);
      began = ended;
    }
    pace.timeline.add(began, n);
    return verdict_.why.empty();
  }

  // Holds the slice still until the lock is gone.
  std::unique_lock<TurnMutex> still() { return std::unique_lock(mutex_); }

  const Verdict& verify_still() {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size_ && verdict_.why.empty(); ++i) {
      check(i);
      sum += counts_[i];
    }
    verdict_.writes = witness_.writes;
    if (!verdict_.why.empty()) return verdict_;
    if (sum != witness_.writes) verdict_.why = "counts and the sum of writes are of different times";
    if (witness_.writes != locked_->writes || witness_.chain != locked_->chain)
      verdict_.why = "ordinary and locked memory are of different times";
    return verdict_;
  }

 private:
  uint64_t address(uint64_t i) const { return reinterpret_cast<uintptr_t>(&pages_[i]); }

  uint64_t next() {
    if (random_) return (mixed(witness_.writes + address(0)) >> 11) % size_;
    return witness_.writes % size_;
  }

  bool check(uint64_t i) {
    if (page_holds(pages_[i], address(i), counts_[i])) return true;
    verdict_.page = i;
    verdict_.why = page_fault(pages_[i], address(i), counts_[i]);
    return false;
  }

  CheckedPage* const pages_;
  uint32_t* const counts_;
  const uint64_t size_;
  const bool random_;
  const bool check_;
  Witness* const locked_;
  TurnMutex mutex_;
  Witness witness_;
  Verdict verdict_;
};

using Slices = std::vector<std::unique_ptr<Slice>>;

std::string verify(Slices& slices, uint64_t pages_each) {
  std::vector<std::unique_lock<TurnMutex>> locks;
  for (auto& slice : slices) locks.push_back(slice->still());
  uint64_t writes = 0;
  std::string bad;
  for (size_t t = 0; t < slices.size(); ++t) {
    const Verdict& verdict = slices[t]->verify_still();
    writes += verdict.writes;
    if (bad.empty() && !verdict.why.empty())
      bad = ", \"page\": " + std::to_string(t * pages_each + verdict.page) + ", \"why\": \"" + verdict.why + "\"";
  }
  return std::string("{\"ok\": ") + (bad.empty() ? "true" : "false") +
         ", \"pages\": " + std::to_string(slices.size() * pages_each) + ", \"writes\": " + std::to_string(writes) +
         bad + "}";
}

void write_forever(Slice& slice, double pages_per_second, Pace& pace) {
  constexpr uint64_t kBatch = 16;
  auto next = Clock::now();
  while (slice.write(kBatch, pace)) {
    if (pages_per_second <= 0) continue;
    next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(kBatch / pages_per_second));
    // Time lost in a freeze is not made up for: the rate holds, not the sum.
    next = std::max(next, Clock::now() - std::chrono::milliseconds(10));
    std::this_thread::sleep_until(next);
    // Whoever is stopped while it sleeps wakes up late.
    pace.stalls.add(next, Clock::now());
  }
}

int run(int argc, char** argv) {
  const Flags flags(argc, argv,
                    {{"bytes", "67108864"},
                     {"rate", "0"},
                     {"threads", "1"},
                     {"pattern", "sequential"},
                     {"huge", "0"},
                     {"check", "1"},
                     {"own-calls", "0"},
                     {"port", "7008"}});
  const auto threads = static_cast<uint64_t>(std::max(1L, flags.number("threads")));
  const uint64_t each = static_cast<uint64_t>(flags.number("bytes")) / kPageBytes / threads;
  const bool random = flags.text("pattern") == "random";
  if (each == 0) return std::fputs("too little memory for its threads\n", stderr), 2;
  if (!random && flags.text("pattern") != "sequential") return std::fputs("--pattern sequential|random\n", stderr), 2;

  const size_t bytes = threads * each * kPageBytes;
  auto* pages = static_cast<CheckedPage*>(map_bytes(bytes));
  auto* counts = static_cast<uint32_t*>(map_bytes(threads * each * sizeof(uint32_t)));
  madvise(pages, bytes, flags.number("huge") ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  Slices slices;
  for (uint64_t t = 0; t < threads; ++t) {
    slices.push_back(
        std::make_unique<Slice>(pages + t * each, counts + t * each, each, random, flags.number("check") != 0));
  }
  constexpr int kSetDispatch = 59, kOn = 1;  // PR_SET_SYSCALL_USER_DISPATCH, Linux 5.11
  static const char kAllow = 0;
  if (flags.number("own-calls") && prctl(kSetDispatch, kOn, 0, 0, &kAllow) != 0) return std::perror("prctl"), 1;
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  const auto pace = std::make_unique<Pace>("page");
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;

  const double pages_per_second = static_cast<double>(flags.number("rate")) / kPageBytes / static_cast<double>(threads);
  for (auto& slice : slices) std::thread(write_forever, std::ref(*slice), pages_per_second, std::ref(*pace)).detach();
  serve_lines(listener, [&](const std::string& line) -> std::string {
    if (line == "verify") return verify(slices, each);
    if (line == "stats") return pace->take_json();
    if (line == "exit") std::_Exit(0);
    return "{\"ok\": false, \"why\": \"unknown command\"}";
  });
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
