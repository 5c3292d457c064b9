#include "wire/page_runs.h"

#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr size_t kAddressAt = 0, kPagesAt = 8, kFlagsAt = 12;
constexpr uint32_t kZero = 1;
// x86-64 with five-level page tables: 56 bits of user memory.
constexpr uint64_t kUserEnd = uint64_t{1} << 56;

Result<PageRun> decode_run(const char* bytes) {
  const uint64_t address = get_le<uint64_t>(bytes + kAddressAt);
  const uint32_t pages = get_le<uint32_t>(bytes + kPagesAt);
  const uint32_t flags = get_le<uint32_t>(bytes + kFlagsAt);
  if (address % kPageBytes != 0 || address >= kUserEnd) return fail("pages at an impossible address");
  if (pages == 0 || pages > kRegionPages - address % kRegionBytes / kPageBytes)
    return fail("a run of " + std::to_string(pages) + " pages that leaves its region");
  if ((flags & ~kZero) != 0) return fail("a run with unknown flags");
  return PageRun{{RemoteAddr{address}, pages}, flags == kZero};
}

}  // namespace

void encode_page_runs(std::span<const PageRun> runs, std::string& out) {
  const size_t start = out.size();
  out.resize(start + runs.size() * kRunBytes);
  char* at = out.data() + start;
  for (const PageRun& run : runs) {
    put_le(at + kAddressAt, run.range.start.value);
    put_le(at + kPagesAt, static_cast<uint32_t>(run.range.pages));
    put_le(at + kFlagsAt, run.zero ? kZero : 0U);
    at += kRunBytes;
  }
}

Result<std::vector<PageRun>> decode_page_runs(std::string_view bytes, uint32_t count, bool limit_contents) {
  if (count > kRunsPerFrame || bytes.size() != size_t{count} * kRunBytes) return fail("runs of another length");
  std::vector<PageRun> runs;
  runs.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    TRY_ASSIGN(PageRun run, decode_run(bytes.data() + size_t{i} * kRunBytes));
    runs.push_back(run);
  }
  if (limit_contents && content_pages(runs) > kPagesPerFrame) return fail("a frame of too many pages");
  return runs;
}

uint64_t content_pages(std::span<const PageRun> runs) {
  uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.zero ? 0 : run.range.pages;
  return pages;
}

}  // namespace godwit::wire
