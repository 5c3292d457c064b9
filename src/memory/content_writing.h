// Puts content that a peer sends into a file of the container's: the other end of content_copy.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace godwit {

// Whether a peer may name BYTES at OFFSET: whole pages, some, and within what a file may have.
bool are_whole_pages(uint64_t offset, uint64_t bytes);
// What PAGES has behind SIZE, the end of the file, belongs to its last page and is zero: it is left out.
Result<> write_content(int file, uint64_t offset, std::string_view pages, uint64_t size);
// BYTES at OFFSET are zero, and take no room.
Result<> write_zeros(int file, uint64_t offset, uint64_t bytes);

}  // namespace godwit
