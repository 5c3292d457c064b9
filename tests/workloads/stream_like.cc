// Programs that are as fast as their memory: --kernel triad (a[i] = b[i] + x * c[i] over three arrays, as STREAM does)
// or random (read, change and write single words all over, as RandomAccess does), on --bytes in all, with huge pages if
// --huge is 1. A client on --port sends "stats" (timeline.h; the unit is a KiB moved, a stall a block of work that took
// long), or "verify": {"ok": true}; the arrays' contents follow from the number of passes.
// Standard output: "ready".
#include <signal.h>
#include <sys/mman.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "checked_page.h"
#include "flags.h"
#include "line_server.h"
#include "timeline.h"
#include "turn_mutex.h"

namespace godwit::workloads {
namespace {

constexpr size_t kBlockWords = 16384;  // of work between two looks at the clock

class Triad {
 public:
  Triad(double* words, size_t count) : size_(count / 3), a_(words), b_(a_ + size_), c_(b_ + size_) {
    for (size_t i = 0; i < size_; ++i) a_[i] = 0, b_[i] = 1, c_[i] = static_cast<double>(i);
  }
  // Does the next block; returns the bytes it moved.
  size_t step() {
    const size_t end = std::min(at_ + kBlockWords, size_);
    const double x = pass_;
    for (size_t i = at_; i < end; ++i) a_[i] = b_[i] + x * c_[i];
    const size_t bytes = (end - at_) * 3 * sizeof(double);
    at_ = end == size_ ? 0 : end;
    pass_ += at_ == 0 ? 1 : 0;
    return bytes;
  }
  bool right() const {
    for (size_t i = 0; i < size_; ++i) {
      const double pass = i < at_ ? pass_ : pass_ - 1;
      if (a_[i] != (pass < 0 ? 0 : 1 + pass * static_cast<double>(i))) return false;
    }
    return true;
  }

 private:
  size_t size_;
  double* a_;
  double* b_;
  double* c_;
  size_t at_ = 0;
  double pass_ = 0;
};

class RandomAccess {
 public:
  RandomAccess(uint64_t* words, size_t count) : words_(words), count_(count) {
    for (size_t i = 0; i < count; ++i) words[i] = 1;
    sum_ = count;
  }
  size_t step() {
    constexpr size_t kChanges = kBlockWords / 8;
    for (size_t k = 0; k < kChanges; ++k) {
      x_ = x_ * 6364136223846793005U + 1442695040888963407U;
      words_[(x_ >> 20) % count_] += x_;
      sum_ += x_;
    }
    return kChanges * 2 * sizeof(uint64_t);
  }
  bool right() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < count_; ++i) sum += words_[i];
    return sum == sum_;
  }

 private:
  uint64_t* words_;
  size_t count_;
  uint64_t x_ = 1;
  uint64_t sum_ = 0;
};

template <typename Kernel>
[[noreturn]] void run(Kernel kernel, int listener) {
  TurnMutex mutex;
  const auto pace = std::make_unique<Pace>("KiB");
  std::thread([&] {
    while (true) {
      const std::lock_guard lock(mutex);
      // Several blocks for one turn of the lock; whoever verifies gets it between two.
      for (auto began = Clock::now(), end = began + std::chrono::milliseconds(5); began < end;) {
        const size_t bytes = kernel.step();
        const auto ended = Clock::now();
        pace->timeline.add(ended, bytes / 1024);
        pace->stalls.add(began, ended);
        began = ended;
      }
    }
  }).detach();
  serve_lines(listener, [&](const std::string& line) -> std::string {
    if (line == "stats") return pace->take_json();
    if (line != "verify") return "{\"ok\": false, \"why\": \"unknown command\"}";
    const std::lock_guard lock(mutex);
    return kernel.right() ? "{\"ok\": true}" : "{\"ok\": false, \"why\": \"the arrays do not hold what was computed\"}";
  });
}

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"bytes", "268435456"}, {"kernel", "triad"}, {"huge", "0"}, {"port", "7008"}});
  const auto bytes = static_cast<size_t>(flags.number("bytes")) / kPageBytes * kPageBytes;
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return std::perror("mmap"), 1;
  madvise(at, bytes, flags.number("huge") ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  const bool triad = flags.text("kernel") == "triad";
  if (!triad && flags.text("kernel") != "random") return std::fputs("--kernel triad|random\n", stderr), 2;
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  if (triad) {
    Triad kernel(static_cast<double*>(at), bytes / sizeof(double));
    if (!write_all(STDOUT_FILENO, "ready\n")) return 1;
    run(kernel, listener);
  }
  RandomAccess kernel(static_cast<uint64_t*>(at), bytes / sizeof(uint64_t));
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;
  run(kernel, listener);
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
