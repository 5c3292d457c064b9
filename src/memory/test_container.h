// For tests: processes in a cgroup that can be frozen, and a copy of their memory made as a migration makes it.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/test_support.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/cgroup_tree.h"
#include "memory/container_memory.h"
#include "memory/page_reader.h"
#include "memory/page_set.h"
#include "memory/zero_pages.h"
#include "tracee/test_process.h"

namespace godwit {

// A cgroup of its own. What is in it is killed with this object.
class TestContainer {
 public:
  TestContainer() {
    const std::filesystem::path top =
        std::filesystem::exists("/sys/fs/cgroup/freezer") ? "/sys/fs/cgroup/freezer" : "/sys/fs/cgroup";
    static int number = 0;
    group_ = top / ("godwit-memory-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number));
    std::filesystem::create_directory(group_);
  }
  TestContainer(const TestContainer&) = delete;
  TestContainer& operator=(const TestContainer&) = delete;
  ~TestContainer() {
    if (auto freezer = CgroupFreezer::open(group_)) (void)freezer->thaw();
    for (int i = 0; i < 100; ++i) {  // until none of them has forked again
      for (pid_t pid : processes()) ::kill(pid, SIGKILL);
      members_.clear();
      if (processes().empty()) break;
      ::usleep(1000);
    }
    (void)remove_cgroup(group_, in_ms(5000));
  }

  pid_t run(const std::function<void()>& body) {
    members_.push_back(std::make_unique<TestProcess>([&] {
      if (!write_attribute(group_ / "cgroup.procs", std::to_string(::getpid()))) ::_exit(99);
      body();
    }));
    const pid_t pid = members_.back()->pid();
    if (!await([&] { return is_member(pid); })) throw std::runtime_error("not in the cgroup");
    return pid;
  }
  bool is_member(pid_t pid) const {  // and lives
    const auto pids = processes();
    return std::ranges::find(pids, pid) != pids.end() && proc::status(pid).value_or(proc::Status{}).state != 'Z';
  }
  std::vector<pid_t> processes() const { return proc::processes_in_cgroup(group_).value_or(std::vector<pid_t>{}); }
  // What cannot be tracked while it runs is held still.
  std::unique_ptr<ContainerMemory> memory(Tracking method = probe_tracking()) const {
    return memory(method, [group = group_] { return proc::processes_in_cgroup(group); });
  }
  std::unique_ptr<ContainerMemory> memory(Tracking method, std::function<Result<std::vector<pid_t>>()> list) const {
    ContainerMemory::Settings settings{.processes = std::move(list), .method = method};
    if (method == Tracking::kSoftDirty) {
      settings.hold_still = [this]() -> Result<> {
        TRY_ASSIGN(const auto freezer, CgroupFreezer::open(group_));
        return freezer.freeze(in_ms(10000));
      };
      settings.let_go = [this]() -> Result<> {
        thaw();
        return {};
      };
    }
    return must(ContainerMemory::create(std::move(settings)));
  }
  const std::filesystem::path& group() const { return group_; }
  void freeze() const { must(must(CgroupFreezer::open(group_)).freeze(in_ms(10000))); }
  void thaw() const { must(must(CgroupFreezer::open(group_)).thaw()); }

 private:
  std::filesystem::path group_;
  std::vector<std::unique_ptr<TestProcess>> members_;
};

// What a target would have of one address space after the rounds so far.
class ShadowSpace {
 public:
  using Page = std::array<char, kPageBytes>;

  void read(pid_t pid, const PageRanges& pages) {
    for (const PageRange& range : pages)
      for (uint64_t done = 0; done < range.pages; done += kChunkPages)
        read_chunk(pid, {range.start + done * kPageBytes, std::min(kChunkPages, range.pages - done)});
  }
  const Page* find(RemoteAddr address) const {
    auto found = pages_.find(address.value);
    return found == pages_.end() ? nullptr : &found->second;
  }
  size_t count() const { return pages_.size(); }

 private:
  static constexpr uint64_t kChunkPages = 256;

  void read_chunk(pid_t pid, const PageRange& range) {
    std::vector<char> bytes(range.bytes());
    PageRanges unreadable;
    if (!read_pages(pid, {range}, std::as_writable_bytes(std::span(bytes)), unreadable)) return;  // it has ended
    for (uint64_t page = 0; page < range.pages; ++page) {
      const RemoteAddr address = range.start + page * kPageBytes;
      if (contains(normalise(unreadable), address)) continue;
      std::memcpy(pages_[address.value].data(), bytes.data() + page * kPageBytes, kPageBytes);
    }
  }
  std::unordered_map<uint64_t, Page> pages_;
};

// How a frozen address space differs from the copy that a target would have of it.
struct Differences {
  uint64_t compared = 0;
  uint64_t written_last = 0;
  uint64_t missing = 0;    // has content, but was never read
  uint64_t different = 0;  // has another content than when it was read last
  uint64_t not_zero = 0;   // counted as without content, but has some
  std::string first;       // of them

  void note(const char* what, pid_t pid, RemoteAddr address) {
    if (!first.empty()) return;
    char text[100];
    std::snprintf(text, sizeof text, "%s: process %d, page %lx", what, pid, address.value);
    first = text;
    auto maps = read_maps(pid);
    if (maps)
      for (const Mapping& mapping : *maps)
        if (mapping.range().contains(address)) first += " in " + mapping.line;
  }
};

inline void compare(const FrozenSpace& frozen, ShadowSpace& shadow, Differences& differences) {
  shadow.read(frozen.pid, frozen.written);
  differences.written_last += count_pages(frozen.written);
  auto memory = open_file("/proc/" + std::to_string(frozen.pid) + "/mem", 0);
  if (!memory) throw std::runtime_error("mem");
  ShadowSpace::Page now;
  auto read = [&](RemoteAddr page) {
    return ::pread(memory->get(), now.data(), kPageBytes, static_cast<off_t>(page.value)) == ssize_t{kPageBytes};
  };
  for (const PageRange& range : frozen.populated)
    for (RemoteAddr page = range.start; page < range.end(); page = page + kPageBytes) {
      ++differences.compared;
      if (!read(page)) continue;
      const ShadowSpace::Page* then = shadow.find(page);
      if (then == nullptr) ++differences.missing, differences.note("missing", frozen.pid, page);
      if (then != nullptr && *then != now) ++differences.different, differences.note("different", frozen.pid, page);
    }
  // Large reservations are left out: reading them would fill them.
  for (const PageRange& range : subtract(frozen.owned, frozen.populated))
    for (RemoteAddr page = range.start; page < range.end() && range.pages < 20000; page = page + kPageBytes)
      if (read(page) && !is_zero_page(now.data()))
        ++differences.not_zero, differences.note("not zero", frozen.pid, page);
}

// The rounds of a migration, with the copy they make.
class ShadowContainer {
 public:
  explicit ShadowContainer(ContainerMemory& memory) : memory_(&memory) {}

  // Returns the number of pages found.
  uint64_t round() {
    uint64_t pages = 0;
    for (const SpaceScan& scan : must(memory_->scan_running())) {
      shadows_[scan.space].read(scan.pid, scan.written);
      pages += count_pages(scan.written);
    }
    return pages;
  }
  // Of the frozen container.
  Differences verify() {
    Differences differences;
    frozen_ = must(memory_->scan_frozen());
    for (const FrozenSpace& frozen : frozen_) compare(frozen, shadows_[frozen.space], differences);
    return differences;
  }
  const std::vector<FrozenSpace>& frozen() const { return frozen_; }

 private:
  ContainerMemory* memory_;
  std::map<SpaceId, ShadowSpace> shadows_;
  std::vector<FrozenSpace> frozen_;
};

inline std::string text_of(const Differences& differences) {
  return std::to_string(differences.compared) + " compared, " + std::to_string(differences.written_last) +
         " written last, " + std::to_string(differences.missing) + " missing, " +
         std::to_string(differences.different) + " different, " + std::to_string(differences.not_zero) +
         " not zero; first " + differences.first;
}

inline bool is_same(const Differences& differences) {
  return differences.missing + differences.different + differences.not_zero == 0;
}

}  // namespace godwit
