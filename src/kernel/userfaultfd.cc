#include "kernel/userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace godwit {

namespace {

// MOVED is what the kernel did of BYTES before the call returned RESULT; a negative one is an error code.
Result<Userfaultfd::Copied> judge(int result, int code, int64_t moved, uint64_t bytes) {
  using Outcome = Userfaultfd::Outcome;
  Userfaultfd::Copied copied;
  if (moved > 0) copied.pages = static_cast<uint64_t>(moved) / kPageBytes;
  if (result == 0) {
    copied.pages = bytes / kPageBytes;
    return copied;
  }
  if (moved < 0 && -moved != EAGAIN) code = static_cast<int>(-moved);
  switch (code) {
    case EAGAIN:
      copied.outcome = Outcome::kChanging;
      return copied;
    case EEXIST:
      copied.outcome = Outcome::kExists;
      return copied;
    case ENOENT:
    case EINVAL:
      copied.outcome = Outcome::kNoRange;
      return copied;
    case ESRCH:
      copied.outcome = Outcome::kGone;
      return copied;
    default:
      return fail_errno("userfaultfd", code);
  }
}

// The kernel looks first whether mappings change, and then for the mapping, without a lock between the two. One that
// leaves in between is not found and yet still to be told of; asked again, the kernel says so.
template <typename Ask>
Result<Userfaultfd::Copied> ask_twice(Ask ask) {
  Result<Userfaultfd::Copied> answer = ask();
  if (answer && answer->outcome == Userfaultfd::Outcome::kNoRange && answer->pages == 0) return ask();
  return answer;
}

UserfaultEvent event_of(const uffd_msg& message) {
  UserfaultEvent event;
  auto range = [](uint64_t start, uint64_t end) { return PageRange{{start}, (end - start) / kPageBytes}; };
  switch (message.event) {
    case UFFD_EVENT_FORK:
      event.kind = UserfaultEvent::Kind::kFork;
      event.child.reset(static_cast<int>(message.arg.fork.ufd));
      break;
    case UFFD_EVENT_REMAP:
      event.kind = UserfaultEvent::Kind::kRemap;
      event.range = range(message.arg.remap.from, message.arg.remap.from + message.arg.remap.len);
      event.to = {message.arg.remap.to};
      break;
    case UFFD_EVENT_REMOVE:
      event.kind = UserfaultEvent::Kind::kRemove;
      event.range = range(message.arg.remove.start, message.arg.remove.end);
      break;
    case UFFD_EVENT_UNMAP:
      event.kind = UserfaultEvent::Kind::kUnmap;
      event.range = range(message.arg.remove.start, message.arg.remove.end);
      break;
    default:
      event.range = {{message.arg.pagefault.address & ~(kPageBytes - 1)}, 1};
  }
  return event;
}

constexpr const char* kDevice = "/dev/userfaultfd";
constexpr unsigned long kNewUserfaultfd = 0xaa00;  // USERFAULTFD_IOC_NEW, Linux 6.1; older headers do not have it

}  // namespace

using Messages = std::array<uffd_msg, Userfaultfd::kReadBytes / sizeof(uffd_msg)>;
static_assert(sizeof(Messages) == Userfaultfd::kReadBytes);

Result<> check_userfaultfd() {
  const ScopedFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd) return fail_errno("userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features =
      UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) return fail_errno("userfaultfd with events of forks and mappings");
  return {};
}

Result<> check_userfaultfd_device() {
  const ScopedFd device(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!device) return fail_errno(kDevice);
  const ScopedFd fd(::ioctl(device.get(), kNewUserfaultfd, O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(kDevice);
  return {};
}

Result<Userfaultfd::Copied> Userfaultfd::copy(const PageRange& pages, const std::byte* contents) const {
  return ask_twice([&] {
    uffdio_copy request{};
    request.dst = pages.start.value;
    request.src = reinterpret_cast<uint64_t>(contents);
    request.len = pages.bytes();
    const int result = ::ioctl(fd_.get(), UFFDIO_COPY, &request);
    return judge(result, errno, request.copy, pages.bytes());
  });
}

Result<Userfaultfd::Copied> Userfaultfd::zero(const PageRange& pages) const {
  return ask_twice([&] {
    uffdio_zeropage request{};
    request.range = {pages.start.value, pages.bytes()};
    const int result = ::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request);
    return judge(result, errno, request.zeropage, pages.bytes());
  });
}

void Userfaultfd::wake(const PageRange& pages) const {
  uffdio_range range{pages.start.value, pages.bytes()};
  (void)::ioctl(fd_.get(), UFFDIO_WAKE, &range);
}

void Userfaultfd::wake_all() const {
  // From the default of vm.mmap_min_addr to the end of user space with four levels of page tables. A process that can
  // have addresses beyond (five levels, arm64) is given them only if it asks mmap for them by hint.
  constexpr uint64_t kFrom = 64 << 10, kTo = (uint64_t{1} << 47) - kPageBytes;
  wake({{kFrom}, (kTo - kFrom) / kPageBytes});
}

Result<> Userfaultfd::read_events(std::vector<UserfaultEvent>& events) const {
  Messages messages;
  return read_events(events, messages.data());
}

Result<> Userfaultfd::read_events(std::vector<UserfaultEvent>& events, void* buffer) const {
  const ssize_t got = ::read(fd_.get(), buffer, kReadBytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (got < 0) return fail_errno("read of a userfaultfd");
  const auto* messages = static_cast<const uffd_msg*>(buffer);
  for (size_t i = 0; i < static_cast<size_t>(got) / sizeof(uffd_msg); ++i) events.push_back(event_of(messages[i]));
  return {};
}

void Userfaultfd::clear(void* buffer) { std::memset(buffer, 0, kReadBytes); }  // 0 is no event

std::vector<UserfaultEvent> Userfaultfd::left_in(const void* buffer) {
  std::vector<UserfaultEvent> events;
  for (size_t i = 0; i < Messages().size(); ++i) {
    uffd_msg message = static_cast<const uffd_msg*>(buffer)[i];
    if (message.event == 0) break;
    if (message.event == UFFD_EVENT_FORK) message.arg.fork.ufd = static_cast<uint32_t>(-1);
    events.push_back(event_of(message));
  }
  return events;
}

}  // namespace godwit
