#include "kernel/pagemap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"

namespace godwit {

namespace {

constexpr uint64_t kEntriesAtOnce = 32 * kRegionPages;

// Memory of our own that was read but never written.
uint64_t find_zero_page_frame() {
  void* memory = ::mmap(nullptr, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  (void)*static_cast<const volatile char*>(memory);
  const RemoteAddr page{reinterpret_cast<uint64_t>(memory)};
  PagemapEntry entry;
  if (auto pagemap = Pagemap::open(::getpid()))
    (void)pagemap->read(page, page + kPageBytes, [&](RemoteAddr, auto entries) { entry = entries[0]; });
  ::munmap(memory, kPageBytes);
  return entry.present() ? entry.frame() : 0;
}

}  // namespace

uint64_t zero_page_frame() {
  static const uint64_t frame = find_zero_page_frame();  // the kernel has one, always the same
  return frame;
}

bool PagemapEntry::is_zero_page() const { return present() && frame() != 0 && frame() == zero_page_frame(); }

Result<Pagemap> Pagemap::open(pid_t pid) {
  TRY_ASSIGN(ScopedFd fd, open_file("/proc/" + std::to_string(pid) + "/pagemap", O_RDONLY));
  return Pagemap(std::move(fd));
}

Result<> Pagemap::read(RemoteAddr start, RemoteAddr end, const Visitor& visit) const {
  std::vector<PagemapEntry> entries(kEntriesAtOnce);
  while (start < end) {
    const size_t into_region = (start - start.region()) / kPageBytes;
    const size_t wanted = std::min(entries.size() - into_region, (end - start) / kPageBytes);
    const ssize_t got = ::pread(fd_.get(), entries.data(), wanted * sizeof(PagemapEntry),
                                static_cast<off_t>(start.value / kPageBytes * sizeof(PagemapEntry)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("reading /proc/PID/pagemap");
    const size_t count = static_cast<size_t>(got) / sizeof(PagemapEntry);
    if (count == 0) return fail(Error("the process has no such memory any more", ESRCH));
    visit(start, std::span(entries).first(count));
    start = start + count * kPageBytes;
  }
  return {};
}

}  // namespace godwit
