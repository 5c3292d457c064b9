#include "kernel/userfaultfd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <filesystem>
#include <string>

namespace godwit {

namespace {

using Outcome = Userfaultfd::Outcome;

// DONE is what the kernel wrote back: bytes, or a negative errno.
Userfaultfd::Answer answer_of(int returned, int code, int64_t done) {
  if (returned == 0) return {Outcome::kDone, static_cast<uint64_t>(done)};
  if (done > 0) return {Outcome::kAgain, static_cast<uint64_t>(done), code};
  switch (code) {
    case EAGAIN:
    case ENOMEM:
    case EINTR:
      return {Outcome::kAgain, 0, code};
    case EEXIST:
      return {Outcome::kExists, 0, code};
    case ENOENT:
      return {Outcome::kGone, 0, code};
    case ESRCH:
    case ENOSPC:  // ESRCH of kernels before 4.13
      return {Outcome::kEnded, 0, code};
    default:
      return {Outcome::kFailed, 0, code};
  }
}

const std::byte* unreadable_page() {
  static void* const page = ::mmap(nullptr, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<const std::byte*>(page);
}

}  // namespace

Result<Userfaultfd> Userfaultfd::adopt(ScopedFd fd) {
  std::error_code error;
  const auto what = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd.get()), error);
  if (error || what != "anon_inode:[userfaultfd]") return fail("not a userfaultfd: " + what.string());
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) return fail_errno("fcntl of a userfaultfd");
  return Userfaultfd(std::move(fd));
}

// Safety: the kernel writes only to pages that are not there (EEXIST otherwise) in ranges registered with this very
// descriptor; what a page should hold is the caller's business.
Userfaultfd::Answer Userfaultfd::copy(RemoteAddr at, std::span<const std::byte> bytes) const {
  uffdio_copy request{};
  request.dst = at.value;
  request.src = reinterpret_cast<uint64_t>(bytes.data());
  request.len = bytes.size();
  const int returned = ::ioctl(fd_.get(), UFFDIO_COPY, &request);
  return answer_of(returned, errno, request.copy);
}

Userfaultfd::Answer Userfaultfd::zero(PageRange range) const {
  uffdio_zeropage request{};
  request.range = {.start = range.start.value, .len = range.bytes()};
  const int returned = ::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request);
  return answer_of(returned, errno, request.zeropage);
}

void Userfaultfd::wake(PageRange range) const {
  uffdio_range request{.start = range.start.value, .len = range.bytes()};
  (void)::ioctl(fd_.get(), UFFDIO_WAKE, &request);
}

Result<> Userfaultfd::unregister(PageRange range) const {
  uffdio_range request{.start = range.start.value, .len = range.bytes()};
  if (::ioctl(fd_.get(), UFFDIO_UNREGISTER, &request) != 0) return fail_errno("unregister a range");
  return {};
}

// A copy from where nothing can be read gets as far as the process and changes nothing.
bool Userfaultfd::serves_someone(RemoteAddr missing) const {
  return copy(missing, {unreadable_page(), kPageBytes}).outcome != Outcome::kEnded;
}

Result<> Userfaultfd::read_events(std::vector<uffd_msg>& events) const {
  uffd_msg batch[32];
  for (;;) {
    const ssize_t got = ::read(fd_.get(), batch, sizeof batch);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return {};
    if (got < 0) return fail_errno("read events of a userfaultfd");
    const size_t count = static_cast<size_t>(got) / sizeof batch[0];
    events.insert(events.end(), batch, batch + count);
    if (count < std::size(batch)) return {};
  }
}

}  // namespace godwit
