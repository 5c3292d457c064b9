// The agent's malloc heap: one for all threads, and as large from the start as migrations usually need it.
#pragma once

namespace godwit {

// Call once, before there are threads. A migration then touches no fresh page while a container stands still, and the
// agent's memory does not grow with the migrations. What cannot be set is logged.
void take_heap();

// At level debug: bytes in use and held.
void log_heap();

}  // namespace godwit
