// Checks that no page is lost, torn or taken back in time. --size-mib of pages, each with its
// number, a count of its writes and contents derived from both. Each of --threads threads owns a
// slice and writes the first --hot-percent of it round and round at --rate-mib per second in all
// (0: full speed), so the count a page must have follows from the number of writes alone; a thread
// checks every page before it writes it. With --shared 1 it is shared anonymous memory.
//
// A client on --port sends "verify": all threads stop at a page boundary, every page is checked,
// and the answer is "ok WRITES" or "corrupt …". "stat" answers "writes WRITES" at once. Standard
// output gets a numbered line every --line-ms: "N writes WRITES"; the first is "ready".
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPageBytes = 4096;
constexpr size_t kWords = kPageBytes / sizeof(uint64_t);

struct Page {
  uint64_t words[kWords];  // number, count, then contents
};
static_assert(sizeof(Page) == kPageBytes);

uint64_t content_step(uint64_t number, uint64_t count) {
  uint64_t x = number * 0x9e3779b97f4a7c15U + count * 0xbf58476d1ce4e5b9U + 1;
  return (x ^ (x >> 31)) | 1;
}

void write_page(Page& page, uint64_t number, uint64_t count) {
  uint64_t step = content_step(number, count);
  page.words[0] = number;
  page.words[1] = count;
  for (size_t i = 2; i < kWords; ++i) page.words[i] = step * i;
}

bool page_holds(const Page& page, uint64_t number, uint64_t count) {
  uint64_t step = content_step(number, count);
  uint64_t wrong = (page.words[0] ^ number) | (page.words[1] ^ count);
  for (size_t i = 2; i < kWords; ++i) wrong |= page.words[i] ^ (step * i);
  return wrong == 0;
}

// A slice of the memory, written by one thread.
class Slice {
 public:
  Slice(Page* pages, uint64_t first, uint64_t size, uint64_t hot)
      : pages_(pages), first_(first), size_(size), hot_(hot) {
    for (uint64_t i = 0; i < size_; ++i) write_page(pages_[i], first_ + i, 0);
  }

  // Writes `n` pages; false once a page was found wrong.
  bool write(uint64_t n) {
    std::lock_guard lock(mutex_);
    for (uint64_t k = 0; k < n && error_.empty(); ++k) {
      uint64_t i = writes_ % hot_;
      if (!check(i)) break;
      write_page(pages_[i], first_ + i, writes_ / hot_ + 1);
      ++writes_;
    }
    return error_.empty();
  }

  // Holds the slice still until the lock is gone.
  std::unique_lock<std::mutex> still() { return std::unique_lock(mutex_); }
  const std::string& verify_still() {
    for (uint64_t i = 0; i < size_ && error_.empty(); ++i) check(i);
    return error_;
  }
  uint64_t writes() const { return writes_; }

 private:
  uint64_t count_of(uint64_t i) const {
    if (i >= hot_) return 0;
    return writes_ / hot_ + (i < writes_ % hot_ ? 1 : 0);
  }

  bool check(uint64_t i) {
    const Page& page = pages_[i];
    if (page_holds(page, first_ + i, count_of(i))) return true;
    error_ = "corrupt page " + std::to_string(first_ + i) + " count " + std::to_string(page.words[1]) + " expected " +
             std::to_string(count_of(i));
    return false;
  }

  Page* pages_;
  uint64_t first_;
  uint64_t size_;
  uint64_t hot_;
  std::mutex mutex_;
  std::atomic<uint64_t> writes_ = 0;
  std::string error_;
};

using Slices = std::vector<std::unique_ptr<Slice>>;

uint64_t total_writes(const Slices& slices) {
  uint64_t sum = 0;
  for (const auto& slice : slices) sum += slice->writes();
  return sum;
}

std::string verify(Slices& slices) {
  std::vector<std::unique_lock<std::mutex>> locks;
  for (auto& slice : slices) locks.push_back(slice->still());
  for (auto& slice : slices)
    if (const std::string& error = slice->verify_still(); !error.empty()) return error;
  return "ok " + std::to_string(total_writes(slices));
}

void write_forever(Slice& slice, double pages_per_second) {
  constexpr uint64_t kBatch = 16;
  auto next = Clock::now();
  while (slice.write(kBatch)) {
    if (pages_per_second <= 0) continue;
    next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(kBatch / pages_per_second));
    // Time lost in a freeze is not made up for: the rate holds, not the sum.
    next = std::max(next, Clock::now() - std::chrono::milliseconds(10));
    std::this_thread::sleep_until(next);
  }
}

void answer(int fd, Slices& slices) {
  std::string pending;
  char buffer[256];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) {
    pending.append(buffer, static_cast<size_t>(n));
    for (size_t end; (end = pending.find('\n')) != std::string::npos;) {
      std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      std::string reply = line == "verify" ? verify(slices)
                          : line == "stat" ? "writes " + std::to_string(total_writes(slices))
                                           : "unknown command";
      if (!write_all(fd, reply + "\n")) break;
    }
  }
  close(fd);
}

void print_forever(const Slices& slices, std::chrono::milliseconds interval) {
  for (uint64_t n = 1;; ++n) {
    std::this_thread::sleep_for(interval);
    if (!write_all(STDOUT_FILENO, std::to_string(n) + " writes " + std::to_string(total_writes(slices)) + "\n"))
      std::exit(1);
  }
}

int run(int argc, char** argv) {
  Flags flags(argc, argv,
              {{"size-mib", "64"},
               {"threads", "1"},
               {"rate-mib", "0"},
               {"hot-percent", "100"},
               {"huge", "0"},
               {"shared", "0"},
               {"line-ms", "100"},
               {"port", "7008"}});
  auto threads = static_cast<uint64_t>(std::max(1L, flags.number("threads")));
  uint64_t pages = (static_cast<uint64_t>(flags.number("size-mib")) << 20) / kPageBytes;
  uint64_t each = pages / threads;
  uint64_t hot = std::max<uint64_t>(1, each * static_cast<uint64_t>(flags.number("hot-percent")) / 100);
  if (each == 0 || hot > each) return std::fputs("too little memory for its threads\n", stderr), 2;
  const int kind = flags.number("shared") ? MAP_SHARED : MAP_PRIVATE;
  void* at = mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return std::perror("mmap"), 1;
  madvise(at, pages * kPageBytes, flags.number("huge") ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);

  Slices slices;
  for (uint64_t t = 0; t < threads; ++t)
    slices.push_back(std::make_unique<Slice>(static_cast<Page*>(at) + t * each, t * each, each, hot));
  int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;

  double pages_per_second = double(flags.number("rate-mib")) * (1 << 20) / kPageBytes / double(threads);
  for (auto& slice : slices) std::thread(write_forever, std::ref(*slice), pages_per_second).detach();
  std::thread(print_forever, std::cref(slices), std::chrono::milliseconds(flags.number("line-ms"))).detach();
  while (true) {
    int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) std::thread(answer, fd, std::ref(slices)).detach();
  }
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
