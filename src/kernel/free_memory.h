// Free memory that is quick to take.
#pragma once

#include <cstdint>

namespace godwit {

// Takes BYTES of memory and gives them back. On a virtual machine the hypervisor backs memory when it is first touched,
// at 0.35 to 2 GB/s, and takes free memory away again within seconds; what has just been freed is backed, and is what
// the kernel hands out next. So a step that will need much memory while a container stands still calls this a moment
// before. What comes while the container runs does better without: taking memory beforehand and as it comes takes
// longer than taking it as it comes, beside the transfer. Does nothing if less than twice BYTES is available.
void warm_free_memory(uint64_t bytes);

}  // namespace godwit
