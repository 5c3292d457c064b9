#include "kernel/mapping_watch.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace godwit {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kRingBytes = 64 * kPage;  // some 2,000 mappings

constexpr uint64_t kFormatLost = 1 << 4;  // PERF_FORMAT_LOST, Linux 6.0

struct Call {
  const char* name;
  const char* filter;  // which of its calls
};
constexpr Call kCalls[] = {{"sys_enter_mremap", "old_len == 0"},     // a second mapping
                           {"sys_enter_madvise", "behavior == 9"}};  // MADV_REMOVE

ScopedFd open_event(perf_event_attr& attributes, int processor) {
  attributes.size = sizeof attributes;
  attributes.read_format = kFormatLost;
  return ScopedFd(
      static_cast<int>(::syscall(SYS_perf_event_open, &attributes, -1, processor, -1, PERF_FLAG_FD_CLOEXEC)));
}

// How many records found no room. There is one of the loss as well, but only when there is room again.
uint64_t lost_by(const ScopedFd& event) {
  uint64_t counts[2] = {};
  return ::read(event.get(), counts, sizeof counts) == sizeof counts ? counts[1] : UINT64_MAX;
}

// A file system of the kernel's, whether or not it is mounted here.
Result<ScopedFd> open_tracefs() {
  const ScopedFd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC)));
  if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno("opening tracefs");
  ScopedFd root(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!root) return fail_errno("mounting tracefs");
  return root;
}

Result<uint64_t> number_of(const ScopedFd& tracefs, const char* call) {
  const std::string path = std::string("events/syscalls/") + call + "/id";
  const ScopedFd file(::openat(tracefs.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("opening tracepoint " + std::string(call));
  TRY_ASSIGN(const std::string text, read_fd(file.get()));
  uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc())
    return fail("a tracepoint without a number");
  return number;
}

Result<std::string> online_processors() { return read_file("/sys/devices/system/cpu/online"); }

// "0-3,8"
Result<std::vector<int>> parse_processors(std::string_view text) {
  std::vector<int> numbers;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (at < end && *at != '\n') {
    int first = 0, last = 0;
    auto parsed = std::from_chars(at, end, first);
    last = first;
    if (parsed.ec == std::errc() && parsed.ptr < end && *parsed.ptr == '-')
      parsed = std::from_chars(parsed.ptr + 1, end, last);
    if (parsed.ec != std::errc() || last < first || last > 1 << 16) return fail("an odd list of processors");
    for (int i = first; i <= last; ++i) numbers.push_back(i);
    at = parsed.ptr < end && *parsed.ptr == ',' ? parsed.ptr + 1 : parsed.ptr;
  }
  return numbers;
}

template <typename T>
T field(const std::string& record, size_t at) {
  T value{};
  if (at + sizeof value <= record.size()) std::memcpy(&value, record.data() + at, sizeof value);
  return value;
}

// perf_event_open(2) has the layouts.
void note(const perf_event_header& header, const std::string& body, MappingWatch::Events& events) {
  switch (header.type) {
    case PERF_RECORD_MMAP2: {
      constexpr size_t kMajor = 32, kMinor = 36, kInode = 40, kProtection = 56, kFlags = 60;
      if ((field<uint32_t>(body, kFlags) & MAP_SHARED) == 0 || (field<uint32_t>(body, kProtection) & PROT_WRITE) == 0)
        return;
      events.mapped.insert(
          {makedev(field<uint32_t>(body, kMajor), field<uint32_t>(body, kMinor)), field<uint64_t>(body, kInode)});
      return;
    }
    case PERF_RECORD_FORK: {
      const auto child = field<pid_t>(body, 0), parent = field<pid_t>(body, 4);
      if (child != parent) events.odd.insert(parent);  // a thread otherwise
      return;
    }
    case PERF_RECORD_SAMPLE:
      events.odd.insert(field<pid_t>(body, 0));
      return;
    case PERF_RECORD_EXIT:
    case PERF_RECORD_COMM:
    case PERF_RECORD_THROTTLE:
    case PERF_RECORD_UNTHROTTLE:
      return;
    default:  // PERF_RECORD_LOST, or what is not known
      events.lost = true;
  }
}

}  // namespace

Result<MappingWatch> MappingWatch::start() {
  MappingWatch watch;
  std::vector<uint64_t> calls;
  TRY_ASSIGN(const ScopedFd tracefs, open_tracefs());
  for (const Call& call : kCalls) {
    TRY_ASSIGN(const uint64_t number, number_of(tracefs, call.name));
    calls.push_back(number);
  }
  TRY_ASSIGN(watch.online_, online_processors());
  TRY_ASSIGN(const std::vector<int> processors, parse_processors(watch.online_));
  for (const int processor : processors) TRY(watch.watch(processor, calls));
  return watch;
}

MappingWatch::~MappingWatch() {
  for (const Processor& processor : processors_)
    if (processor.ring != nullptr) ::munmap(processor.ring, kPage + kRingBytes);
}

Result<> MappingWatch::watch(int number, const std::vector<uint64_t>& calls) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_DUMMY;
  attributes.task = attributes.mmap = attributes.mmap_data = attributes.mmap2 = 1;
  attributes.exclude_kernel = 1;
  Processor processor;
  processor.records = open_event(attributes, number);
  if (!processor.records) return fail_errno("perf_event_open");
  void* const ring =
      ::mmap(nullptr, kPage + kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, processor.records.get(), 0);
  if (ring == MAP_FAILED) return fail_errno("mapping a ring of perf events");
  processor.ring = static_cast<char*>(ring);
  processors_.push_back(std::move(processor));
  Processor& kept = processors_.back();
  for (size_t i = 0; i < calls.size(); ++i) {
    perf_event_attr call{};
    call.type = PERF_TYPE_TRACEPOINT;
    call.config = calls[i];
    call.sample_period = 1;
    call.sample_type = PERF_SAMPLE_TID;
    ScopedFd event = open_event(call, number);
    if (!event || ::ioctl(event.get(), PERF_EVENT_IOC_SET_OUTPUT, kept.records.get()) != 0 ||
        ::ioctl(event.get(), PERF_EVENT_IOC_SET_FILTER, kCalls[i].filter) != 0)
      return fail_errno("watching " + std::string(kCalls[i].name));
    kept.calls.push_back(std::move(event));
  }
  return {};
}

Result<MappingWatch::Events> MappingWatch::take() {
  Events events;
  for (Processor& processor : processors_) {
    read(processor, events);
    uint64_t lost = lost_by(processor.records);
    for (const ScopedFd& call : processor.calls) lost += lost_by(call);
    events.lost |= std::exchange(processor.lost, lost) != lost;
  }
  TRY_ASSIGN(const std::string online, online_processors());
  events.lost |= online != online_;
  return events;
}

void MappingWatch::read(const Processor& processor, Events& events) {
  auto* const control = reinterpret_cast<perf_event_mmap_page*>(processor.ring);
  const char* const data = processor.ring + kPage;
  const uint64_t head = std::atomic_ref(control->data_head).load(std::memory_order_acquire);
  uint64_t tail = control->data_tail;
  auto copy = [&](uint64_t from, void* to, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) static_cast<char*>(to)[i] = data[(from + i) % kRingBytes];
  };
  std::string body;
  while (tail < head) {
    perf_event_header header{};
    copy(tail, &header, sizeof header);
    if (header.size < sizeof header) {
      events.lost = true;
      break;
    }
    body.resize(header.size - sizeof header);
    copy(tail + sizeof header, body.data(), body.size());
    note(header, body, events);
    tail += header.size;
  }
  std::atomic_ref(control->data_tail).store(head, std::memory_order_release);
}

}  // namespace godwit
