#include "runtime/interrupted_calls.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>

#include "runtime/message_image.h"

namespace godwit {

namespace {

constexpr size_t kImageBytesMax = size_t{16} << 20;

constexpr uint64_t kInterrupted = static_cast<uint64_t>(-EINTR);
constexpr uint64_t kSyscallBytes = 2;     // the instruction, 0f 05
constexpr uint64_t kCodeOf64Bits = 0x33;  // segment (arch/x86: __USER_CS)
constexpr uint64_t kClocks = 16;          // more than there are that a program may sleep by (MAX_CLOCKS)
constexpr uint64_t kPointerMin = 1ULL << 32, kPointerMax = 1ULL << 47;  // no number of 32 bits, extended or not

bool is_pointer(uint64_t value) { return value >= kPointerMin && value < kPointerMax; }

// What the kernel writes to LEFT is read from ASKED the next time; or the program does not want to know.
bool can_sleep_again(uint64_t asked, uint64_t left) { return left == 0 || left == asked; }

bool waits_for_ever(uint64_t milliseconds) { return static_cast<int32_t>(milliseconds) < 0; }

bool waits_up_to_a_time(uint64_t operation) {
  return (static_cast<int32_t>(operation) & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
}

// The kernel has begun it again before, and its number is gone. Arguments of sleeps are those of no other call that the
// kernel begins again: where there is a pointer, poll and futex have a number of 32 bits.
std::optional<uint64_t> sleep_begun_again(const criu::Registers& registers) {
  const bool by_a_clock = registers.di() < kClocks && registers.si() == 0 && is_pointer(registers.dx());
  if (by_a_clock && can_sleep_again(registers.dx(), registers.r10())) return SYS_clock_nanosleep;
  if (is_pointer(registers.di()) && registers.si() == registers.di()) return SYS_nanosleep;
  return std::nullopt;
}

bool has_signals_to_come(const criu::Task& task) {
  return task.process().pending().one_size() > 0 || task.thread().pending().one_size() > 0;
}

Result<> repeat_interrupted_call(const std::filesystem::path& image) {
  criu::Task task;
  TRY_ASSIGN(const MessageImage read, MessageImage::read(image, kImageBytesMax, task));
  if (!read.data.empty()) return fail(image.filename().string() + " is not as CRIU writes it");
  const auto call = call_to_repeat(task.x86().registers());
  if (!call || has_signals_to_come(task)) return {};

  criu::Registers& registers = *task.mutable_x86()->mutable_registers();
  registers.set_ax(*call);
  registers.set_ip(registers.ip() - kSyscallBytes);
  return read.write(task);
}

}  // namespace

std::optional<uint64_t> call_to_repeat(const criu::Registers& registers) {
  if (registers.cs() != kCodeOf64Bits || registers.ax() != kInterrupted) return std::nullopt;
  bool repeated = false;
  switch (registers.orig_ax()) {
    case SYS_nanosleep:
      repeated = can_sleep_again(registers.di(), registers.si());
      break;
    case SYS_clock_nanosleep:
      repeated = can_sleep_again(registers.dx(), registers.r10());
      break;
    case SYS_poll:
      repeated = waits_for_ever(registers.dx());
      break;
    case SYS_futex:
      repeated = waits_up_to_a_time(registers.si());
      break;
    case SYS_restart_syscall:
      return sleep_begun_again(registers);
    default:
      break;
  }
  return repeated ? std::optional(registers.orig_ax()) : std::nullopt;
}

Result<> repeat_interrupted_calls(const std::filesystem::path& images) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(images, error))
    if (entry.path().filename().string().starts_with("core-")) TRY(repeat_interrupted_call(entry.path()));
  if (error) return fail_errno("reading " + images.string(), error.value());
  return {};
}

}  // namespace godwit
