#include "memory/page_reader.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"
#include "memory/page_set.h"

namespace godwit {

namespace {

constexpr size_t kVectorsMax = 1024;  // IOV_MAX

Result<size_t> read_vectors(pid_t pid, const std::vector<iovec>& from, std::byte* out, size_t bytes) {
  iovec to{out, bytes};
  const ssize_t got = ::process_vm_readv(pid, &to, 1, from.data(), from.size(), 0);
  if (got >= 0) return static_cast<size_t>(got);
  if (errno == EFAULT) return size_t{0};
  return fail_errno("process_vm_readv");
}

// One page where process_vm_readv will not go: /proc/PID/mem also reads what is mapped without permission to read.
bool read_page_by_force(pid_t pid, ScopedFd& memory, RemoteAddr page, std::byte* out) {
  if (!memory) {
    auto opened = open_file("/proc/" + std::to_string(pid) + "/mem", O_RDONLY);
    if (!opened) return false;
    memory = std::move(*opened);
  }
  return ::pread(memory.get(), out, kPageBytes, static_cast<off_t>(page.value)) == static_cast<ssize_t>(kPageBytes);
}

std::vector<iovec> vectors_from(const PageRanges& pages, uint64_t skip) {
  std::vector<iovec> vectors;
  for (const PageRange& range : pages) {
    if (vectors.size() == kVectorsMax) break;
    const uint64_t skipped = std::min(skip, range.pages);
    skip -= skipped;
    if (skipped == range.pages) continue;
    // An address there, which only the kernel looks at.
    vectors.push_back(
        {reinterpret_cast<void*>(range.start.value + skipped * kPageBytes), (range.pages - skipped) * kPageBytes});
  }
  return vectors;
}

RemoteAddr page_number(const PageRanges& pages, uint64_t number) {
  for (const PageRange& range : pages) {
    if (number < range.pages) return range.start + number * kPageBytes;
    number -= range.pages;
  }
  return {};
}

}  // namespace

Result<> read_pages(pid_t pid, const PageRanges& pages, std::span<std::byte> out, PageRanges& unreadable) {
  const uint64_t total = count_pages(pages);
  if (out.size() < total * kPageBytes) return fail("no room for the pages");
  ScopedFd memory;
  for (uint64_t done = 0; done < total;) {
    const auto vectors = vectors_from(pages, done);
    TRY_ASSIGN(const size_t got,
               read_vectors(pid, vectors, out.data() + done * kPageBytes, (total - done) * kPageBytes));
    done += got / kPageBytes;  // it stops at the first page it cannot read
    if (done == total || (got > 0 && vectors.size() == kVectorsMax)) continue;
    const RemoteAddr page = page_number(pages, done);
    if (!read_page_by_force(pid, memory, page, out.data() + done * kPageBytes)) unreadable.push_back({page, 1});
    ++done;
  }
  return {};
}

}  // namespace godwit
