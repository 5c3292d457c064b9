// The agent's malloc heap: one for all threads, and as large from the start as migrations usually need it.
#pragma once

namespace godwit {

// Call once, before there are threads. The agent's memory then does not grow with the migrations, and the kernel is not
// asked for fresh pages of it while a container stands still. What cannot be set is logged.
void take_heap();

// At level debug: bytes in use and held.
void log_heap();

}  // namespace godwit
