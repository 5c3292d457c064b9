#include "memory/content_writing.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/page.h"
#include "wire/frame.h"

namespace godwit {

bool are_whole_pages(uint64_t offset, uint64_t bytes) {
  return bytes > 0 && offset % kPageBytes == 0 && bytes % kPageBytes == 0 && bytes <= wire::kImageBytesMax &&
         offset <= wire::kImageBytesMax - bytes;
}

Result<> write_content(int file, uint64_t offset, std::string_view pages, uint64_t size) {
  pages = pages.substr(0, offset < size ? std::min<uint64_t>(pages.size(), size - offset) : 0);
  while (!pages.empty()) {
    const ssize_t done = ::pwrite(file, pages.data(), pages.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return fail_errno("writing content of the container's");
    pages.remove_prefix(static_cast<size_t>(done));
    offset += static_cast<uint64_t>(done);
  }
  return {};
}

Result<> write_zeros(int file, uint64_t offset, uint64_t bytes) {
  if (::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes)) != 0)
    return fail_errno("making a hole in content of the container's");
  return {};
}

}  // namespace godwit
