// A storm of mmap, munmap, mremap, mprotect, madvise and fork that knows what every page must hold. Each of --threads
// threads keeps up to --areas mappings of up to --pages pages each and does --rate steps a second (0: full speed),
// drawn from --seed. Forked children go on with their copy for a while, check it and exit. A page in a mapping is
// either a checked page (checked_page.h) whose count the thread knows, or zeros: never touched, or given back
// (MADV_DONTNEED); after MADV_FREE either will do.
//
// A client on --port sends
//   verify   all threads stop between two steps and everything is checked, permissions too:
//            {"ok": true, "pages": …, "steps": …, "forks": …} or {"ok": false, …, "why": "…"}
//   stats    {"ok": true, "steps": …, "forks": …}
// Standard output: "ready".
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <random>
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

constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr size_t kChildrenMax = 4;
constexpr int kChildSteps = 60;

// What a page must hold: COUNT, 0 for zeros. The page's address changes with mremap, so its number is in it instead.
struct Expected {
  uint64_t number = 0;
  uint32_t count = 0;
  bool given_back = false;  // MADV_FREE: zeros will do as well
};

struct Area {
  CheckedPage* pages = nullptr;
  std::vector<Expected> expected;
  int protection = kReadWrite;

  size_t bytes() const { return expected.size() * kPageBytes; }
};

class Storm {
 public:
  Storm(uint64_t seed, size_t areas_max, size_t pages_max)
      : random_(seed), areas_max_(areas_max), pages_max_(pages_max) {}

  // One step; false once something was found wrong.
  bool step() {
    ++steps_;
    if (areas_.size() < areas_max_ / 2 || (areas_.size() < areas_max_ && draw(8) == 0)) {
      map();
    } else {
      change(areas_[draw(areas_.size())]);
    }
    if (!areas_.empty()) check(areas_[draw(areas_.size())]);
    return why_.empty();
  }

  const std::string& verify() {
    for (const Area& area : areas_) check(area);
    while (!children_.empty()) reap(0, 0);
    return why_;
  }

  uint64_t pages() const {
    uint64_t sum = 0;
    for (const Area& area : areas_) sum += area.expected.size();
    return sum;
  }
  uint64_t steps() const { return steps_; }
  uint64_t forks() const { return forks_; }

 private:
  size_t draw(size_t below) { return static_cast<size_t>(random_() % below); }

  void fail(const std::string& why) {
    if (why_.empty()) why_ = why + " at step " + std::to_string(steps_);
  }
  void fail_call(const char* call) { fail(std::string(call) + ": " + std::strerror(errno)); }

  void check(const Area& area) {
    for (size_t i = 0; i < area.expected.size(); ++i) check(area.pages[i], area.expected[i]);
  }
  void check(const CheckedPage& page, const Expected& expected) {
    if (expected.count == 0 || expected.given_back) {
      if (page_is_zero(page)) return;
      if (expected.count == 0) return fail("not zero: count " + std::to_string(page.words[1]));
    }
    if (!page_holds(page, expected.number, expected.count)) fail(page_fault(page, expected.number, expected.count));
  }

  void map() {
    Area area;
    area.expected.resize(1 + draw(pages_max_));
    void* at = mmap(nullptr, area.bytes(), kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return fail_call("mmap");
    area.pages = static_cast<CheckedPage*>(at);
    for (Expected& expected : area.expected) expected.number = next_number_++;
    areas_.push_back(std::move(area));
    write(areas_.back());
  }

  void change(Area& area) {
    if (area.protection != kReadWrite && draw(2) == 0) return protect(area, kReadWrite);
    switch (draw(16)) {
      case 0:
        return unmap(area);
      case 1:
        return unmap_end(area);
      case 2:
        return remap(area, 1 + draw(pages_max_), nullptr);
      case 3:
        return move(area);
      case 4:
        return protect(area, draw(2) == 0 ? PROT_READ : PROT_NONE);
      case 5:
        return give_back(area, MADV_DONTNEED);
      case 6:
        return give_back(area, MADV_FREE);
      case 7:
        advise(area, draw(2) == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        return;
      case 8:
        return fork_child();
      default:
        return write(area);
    }
  }

  // Some pages from a random one on.
  void write(Area& area) {
    if (area.protection != kReadWrite) return;
    size_t i = draw(area.expected.size());
    for (size_t n = 1 + draw(area.expected.size()); n > 0 && i < area.expected.size(); --n, ++i) {
      Expected& expected = area.expected[i];
      write_page(area.pages[i], expected.number, ++expected.count);
      expected.given_back = false;
    }
  }

  void unmap(Area& area) {
    if (munmap(area.pages, area.bytes()) != 0) return fail_call("munmap");
    std::swap(area, areas_.back());
    areas_.pop_back();
  }

  // A hole in the middle becomes two areas.
  void unmap_end(Area& area) {
    if (area.expected.size() < 3) return unmap(area);
    const size_t hole = 1 + draw(area.expected.size() - 2);
    if (munmap(area.pages + hole, kPageBytes) != 0) return fail_call("munmap");
    Area rest;
    rest.pages = area.pages + hole + 1;
    rest.expected.assign(area.expected.begin() + static_cast<ptrdiff_t>(hole) + 1, area.expected.end());
    rest.protection = area.protection;
    area.expected.resize(hole);
    areas_.push_back(std::move(rest));
  }

  void remap(Area& area, size_t pages, void* to) {
    const int flags = MREMAP_MAYMOVE | (to != nullptr ? MREMAP_FIXED : 0);
    void* at = mremap(area.pages, area.bytes(), pages * kPageBytes, flags, to);
    if (at == MAP_FAILED) return fail_call("mremap");
    area.pages = static_cast<CheckedPage*>(at);
    const size_t before = area.expected.size();
    area.expected.resize(pages);
    for (size_t i = before; i < pages; ++i) area.expected[i].number = next_number_++;
  }

  // To an address that was another mapping's a moment ago.
  void move(Area& area) {
    void* to = mmap(nullptr, area.bytes(), kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (to == MAP_FAILED) return fail_call("mmap");
    write_page(*static_cast<CheckedPage*>(to), ~uint64_t{0}, 1);
    remap(area, area.expected.size(), to);
  }

  void protect(Area& area, int protection) {
    // What must be read must be readable: PROT_NONE only for a moment, with a look in between from the kernel's side.
    if (mprotect(area.pages, area.bytes(), protection) != 0) return fail_call("mprotect");
    area.protection = protection == PROT_NONE ? PROT_READ : protection;
    if (protection == PROT_NONE && mprotect(area.pages, area.bytes(), PROT_READ) != 0) fail_call("mprotect");
  }

  void give_back(Area& area, int advice) {
    const size_t first = draw(area.expected.size());
    const size_t count = 1 + draw(area.expected.size() - first);
    if (madvise(area.pages + first, count * kPageBytes, advice) != 0) return fail_call("madvise");
    for (size_t i = first; i < first + count; ++i) {
      Expected& expected = area.expected[i];
      if (advice == MADV_FREE) {
        expected.given_back |= expected.count > 0;
      } else {
        expected.count = 0;
        expected.given_back = false;
        expected.number = next_number_++;
      }
    }
  }

  void advise(const Area& area, int advice) {
    if (madvise(area.pages, area.bytes(), advice) != 0 && errno != EINVAL) fail_call("madvise");
  }

  // The child's storm is its own from here on; its exit status is its verdict.
  void fork_child() {
    if (is_child_) return;
    for (size_t i = children_.size(); i-- > 0;) reap(i, WNOHANG);
    if (children_.size() == kChildrenMax) return;
    const pid_t pid = fork();
    if (pid < 0) return fail_call("fork");
    if (pid > 0) {
      children_.push_back(pid);
      ++forks_;
      return;
    }
    is_child_ = true;
    children_.clear();
    random_.seed(steps_);
    for (int i = 0; i < kChildSteps && step(); ++i) usleep(1000);
    for (const Area& area : areas_) check(area);
    if (!why_.empty()) write_all(STDOUT_FILENO, "child: " + why_ + "\n");
    _exit(why_.empty() ? 0 : 1);
  }

  // Its verdict, once it has ended.
  void reap(size_t index, int flags) {
    int status = 0;
    const pid_t ended = waitpid(children_[index], &status, flags);
    if (ended == 0) return;
    if (ended < 0) fail_call("waitpid");
    if (status != 0) fail("a child ended with status " + std::to_string(status));
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(index));
  }

  std::mt19937_64 random_;
  const size_t areas_max_;
  const size_t pages_max_;
  std::vector<Area> areas_;
  std::vector<pid_t> children_;
  bool is_child_ = false;
  uint64_t next_number_ = 1;
  std::atomic<uint64_t> steps_ = 0;
  std::atomic<uint64_t> forks_ = 0;
  std::string why_;
};

struct Worker {
  Worker(uint64_t seed, size_t areas, size_t pages) : storm(seed, areas, pages) {}
  TurnMutex turn;
  Storm storm;
};

using Workers = std::vector<std::unique_ptr<Worker>>;

std::string counts_text(const Workers& workers) {
  uint64_t steps = 0;
  uint64_t forks = 0;
  for (const auto& worker : workers) {
    steps += worker->storm.steps();
    forks += worker->storm.forks();
  }
  return ", \"steps\": " + std::to_string(steps) + ", \"forks\": " + std::to_string(forks);
}

std::string verify(Workers& workers) {
  std::vector<std::unique_lock<TurnMutex>> locks;
  for (auto& worker : workers) locks.emplace_back(worker->turn);
  std::string why;
  uint64_t pages = 0;
  for (auto& worker : workers) {
    if (const std::string& found = worker->storm.verify(); why.empty()) why = found;
    pages += worker->storm.pages();
  }
  return std::string("{\"ok\": ") + (why.empty() ? "true" : "false") + ", \"pages\": " + std::to_string(pages) +
         counts_text(workers) + (why.empty() ? "" : ", \"why\": \"" + why + "\"") + "}";
}

void storm_forever(Worker& worker, double steps_per_second) {
  const auto pause = std::chrono::duration<double>(steps_per_second > 0 ? 1 / steps_per_second : 0);
  while (true) {
    {
      const std::lock_guard lock(worker.turn);
      if (!worker.storm.step()) return;
    }
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
  }
}

int run(int argc, char** argv) {
  const Flags flags(
      argc, argv, {{"seed", "1"}, {"threads", "2"}, {"areas", "48"}, {"pages", "96"}, {"rate", "0"}, {"port", "7008"}});
  const auto threads = static_cast<uint64_t>(std::max(1L, flags.number("threads")));
  Workers workers;
  for (uint64_t t = 0; t < threads; ++t) {
    workers.push_back(std::make_unique<Worker>(static_cast<uint64_t>(flags.number("seed")) * 1000 + t,
                                               static_cast<size_t>(std::max(2L, flags.number("areas"))),
                                               static_cast<size_t>(std::max(1L, flags.number("pages")))));
  }
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;
  for (auto& worker : workers) {
    std::thread(storm_forever, std::ref(*worker), static_cast<double>(flags.number("rate"))).detach();
  }
  serve_lines(listener, [&](const std::string& line) -> std::string {
    if (line == "verify") return verify(workers);
    if (line == "stats") return "{\"ok\": true" + counts_text(workers) + "}";
    return "{\"ok\": false, \"why\": \"unknown command\"}";
  });
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
