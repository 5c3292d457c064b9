// What a migration costs its host, from the kernel's own accounts.
#pragma once

#include <cstdint>

namespace godwit {

// Bytes that this process and the children it has reaped have caused to be written to storage
// (/proc/self/io: write_bytes). A difference of two values also counts other migrations of that time.
uint64_t disk_bytes_written();

}  // namespace godwit
