// System calls that a dump has interrupted and that the restored thread has to make again.
//
// A thread that sleeps when it is stopped goes on sleeping when it is let go: the kernel keeps the time that is left to
// itself (restart_block). CRIU cannot carry that, and has such calls end with EINTR, which a program without signal
// handlers never meets: it takes the sleep to be over, and a container whose first process sleeps ends.
//
// Here the thread's registers, in CRIU's images, are set back to before the call, where another one does the same:
// sleeps (what is left, where the program has the kernel write that over what it asked for, else all of it: a sleep may
// be longer, never shorter), poll without a time-out, waits for a futex up to a point in time. All others end with
// EINTR as CRIU has it; so do those of threads with signals to come, which end them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/result.h"
#include "criu_core.pb.h"

namespace godwit {

// In all images of tasks in the directory IMAGES, which CRIU has written there. Some 10 us a thread.
Result<> repeat_interrupted_calls(const std::filesystem::path& images);

// Of a thread with these REGISTERS, which CRIU has read and changed: the number of the call that it is to make again.
std::optional<uint64_t> call_to_repeat(const criu::Registers& registers);

}  // namespace godwit
