#include "memory/shared_tracker.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "kernel/pagemap_scan.h"
#include "memory/page_set.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// linux/userfaultfd.h of 6.7.
constexpr uint64_t kFeatureWpAsync = 1 << 15, kFeatureWpShared = 1 << 12, kFeatureWpUnpopulated = 1 << 13;
constexpr auto kStopsWithin = 200ms;  // as for private memory

// Its system calls are told of.
bool is_64_bit(pid_t pid) {
  const ScopedFd program(::open(("/proc/" + std::to_string(pid) + "/exe").c_str(), O_RDONLY | O_CLOEXEC));
  unsigned char head[EI_NIDENT] = {};
  return program && ::pread(program.get(), head, sizeof head, 0) == sizeof head && head[EI_CLASS] == ELFCLASS64;
}

// If it fails, so does the scan that protects.
void register_mapping(int uffd, RemoteAddr start, RemoteAddr end) {
  uffdio_register request{};
  request.range = {start.value, end - start};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  (void)::ioctl(uffd, UFFDIO_REGISTER, &request);
}

// Pages without a page table entry count as written: what an entry said is gone with it.
PagemapScan::Query written(bool protect) { return {.all_of = kPageWritten, .protect = protect}; }

}  // namespace

const MappedWrites* MappedLook::of(const FileId& file) const {
  static const MappedWrites kAll{.all = true, .pages = {}};
  if (unknown) return &kAll;
  const auto found = files.find(file);
  return found == files.end() ? nullptr : &found->second;
}

Result<std::unique_ptr<SharedTracker>> SharedTracker::start(Settings settings) {
  TRY_ASSIGN(MappingWatch watch, MappingWatch::start());
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(::getpid()));
  if (!scan.works()) return fail("this kernel has no PAGEMAP_SCAN");
  return std::unique_ptr<SharedTracker>(new SharedTracker(std::move(settings), std::move(watch)));
}

SharedTracker::~SharedTracker() = default;

MappedLook SharedTracker::take(const std::vector<pid_t>& processes) { return look(processes, true); }

MappedLook SharedTracker::find(const std::vector<pid_t>& processes) { return look(processes, false); }

// The events first: one that comes later is in the next answer, and what it tells of is read after this look.
MappedLook SharedTracker::look(const std::vector<pid_t>& processes, bool runs) {
  MappedLook found;
  const auto events = watch_.take();
  if (!events) log::warn("{}", events.error().text());
  files_of_.clear();
  for (auto known = processes_.begin(); known != processes_.end();) {
    for (const auto& [start, mapping] : known->second.mappings) files_of_[known->first].insert(mapping.file);
    if (std::ranges::count(processes, known->first) == 0) {
      for (const auto& [start, mapping] : known->second.mappings) found.files[mapping.file].all = true;
      known = processes_.erase(known);
    } else {
      ++known;
    }
  }
  for (const pid_t pid : processes) look_at(pid, runs, found);
  if (events) judge(*events, found);
  found.unknown |= !events;
  for (auto& [file, writes] : found.files) writes.pages = normalise(std::move(writes.pages));
  return found;
}

void SharedTracker::look_at(pid_t pid, bool runs, MappedLook& found) {
  Process& process = processes_[pid];
  auto looked = collect(pid, process, runs, found);
  const auto is_new = [](const auto& entry) { return !entry.second.begun; };
  if (looked && runs && std::ranges::any_of(process.mappings, is_new)) looked = begin(pid, process, found);
  for (const auto& [start, mapping] : process.mappings) {
    files_of_[pid].insert(mapping.file);
    if (!mapping.begun || !looked) found.files[mapping.file].all = true;
  }
  if (!looked) processes_.erase(pid);  // it has ended: the next look begins anew, if there is one
}

Result<SharedTracker::Mappings> SharedTracker::wanted_mappings(pid_t pid) const {
  TRY_ASSIGN(const auto all, read_maps(pid));
  Mappings mappings;
  for (const Mapping& mapping : all)
    if (mapping.shared && mapping.writable && settings_.wanted(mapping))
      mappings[mapping.start] = {mapping.end, mapping.offset, {mapping.device, mapping.inode}};
  return mappings;
}

// What was written in mappings that were there before. Afterwards those of PROCESS are what it has now.
Result<> SharedTracker::collect(pid_t pid, Process& process, bool runs, MappedLook& found) const {
  TRY_ASSIGN(Mappings now, wanted_mappings(pid));
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid));
  for (const auto& [start, before] : process.mappings) {
    const auto there = now.find(start);
    MappedWrites& writes = found.files[before.file];
    if (there == now.end() || !there->second.same(before) || !before.begun) {
      writes.all = true;
      continue;
    }
    PageRanges pages;
    if (auto scanned = scan.find(written(runs), start, before.end, pages); !scanned) {
      writes.all = true;  // it is not the one that was protected
      continue;
    }
    there->second.begun = true;
    for (const PageRange& range : pages) writes.pages.push_back({{range.start - start + before.offset}, range.pages});
  }
  for (const auto& [start, mapping] : now)
    if (!mapping.begun) found.files[mapping.file].all = true;
  process.mappings = std::move(now);
  return {};
}

// With new mappings, while the process stands still: one of which only a part is protected is two to the kernel.
Result<> SharedTracker::begin(pid_t pid, Process& process, MappedLook& found) {
  if (!process.uffd && !attach(pid, process)) return {};  // all it maps counts as written
  TRY(settings_.hold_still());
  auto now = wanted_mappings(pid);
  if (now) {
    for (auto& [start, mapping] : *now) {
      const auto before = process.mappings.find(start);
      mapping.begun = before != process.mappings.end() && before->second.begun && before->second.same(mapping);
      if (!mapping.begun) register_mapping(process.uffd.get(), start, mapping.end);
    }
  }
  TRY(settings_.let_go());
  TRY(now);
  TRY_ASSIGN(const PagemapScan scan, PagemapScan::open(pid));
  for (const auto& [start, before] : process.mappings)
    if (const auto there = now->find(start); there == now->end() || !there->second.same(before))
      found.files[before.file].all = true;
  for (auto& [start, mapping] : *now) {
    if (mapping.begun) continue;
    found.files[mapping.file].all = true;
    PageRanges all;
    mapping.begun = scan.find(written(true), start, mapping.end, all).has_value();
    if (!mapping.begun) process.attempted = false;  // it may have become another program, of which we have nothing
  }
  if (!process.attempted) process.uffd.reset();
  process.mappings = std::move(*now);
  return {};
}

bool SharedTracker::attach(pid_t pid, Process& process) const {
  if (std::exchange(process.attempted, true) || !is_64_bit(pid)) return false;
  auto uffd = settings_.open_userfaultfd(pid, Clock::now() + kStopsWithin);
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpAsync | kFeatureWpShared | kFeatureWpUnpopulated;
  if (uffd && ::ioctl(uffd->get(), UFFDIO_API, &api) == 0) {
    process.uffd = std::move(*uffd);
    return true;
  }
  log::warn("shared memory of process {} is not tracked: {}", pid, uffd ? "UFFDIO_API" : uffd.error().text());
  return false;
}

void SharedTracker::judge(const MappingWatch::Events& events, MappedLook& found) const {
  found.unknown |= events.lost;
  for (const FileId& file : events.mapped) found.files[file].all = true;
  for (const pid_t pid : events.odd) {
    const auto files = files_of_.find(pid);
    if (files == files_of_.end()) continue;
    for (const FileId& file : files->second) found.files[file].all = true;
  }
}

}  // namespace godwit
