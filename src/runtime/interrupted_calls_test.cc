#include "runtime/interrupted_calls.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <cerrno>

#include "base/file.h"
#include "base/test_support.h"

namespace godwit {
namespace {

constexpr uint64_t kCode = 0x401002, kStack = 0x7ffd00001000, kOther = 0x7ffd00002000;
constexpr uint64_t kEintr = static_cast<uint64_t>(-EINTR);

struct Arguments {
  uint64_t first = 0, second = 0, third = 0, fourth = 0;
};
criu::Registers in_call(uint64_t number, const Arguments& arguments) {
  criu::Registers registers;
  registers.set_ax(kEintr);
  registers.set_orig_ax(number);
  registers.set_di(arguments.first);
  registers.set_si(arguments.second);
  registers.set_dx(arguments.third);
  registers.set_r10(arguments.fourth);
  registers.set_ip(kCode);
  registers.set_cs(0x33);
  return registers;
}

std::optional<uint64_t> repeated(uint64_t number, const Arguments& arguments) {
  return call_to_repeat(in_call(number, arguments));
}

TEST(InterruptedCall, SleepsAreMadeAgainUnlessTheProgramKeepsWhatIsLeftApart) {
  EXPECT_EQ(repeated(SYS_nanosleep, {kStack, kStack}), SYS_nanosleep);
  EXPECT_EQ(repeated(SYS_nanosleep, {kStack, 0}), SYS_nanosleep);
  EXPECT_EQ(repeated(SYS_nanosleep, {kStack, kOther}), std::nullopt);
  EXPECT_EQ(repeated(SYS_clock_nanosleep, {1, 0, kStack, kStack}), SYS_clock_nanosleep);
  EXPECT_EQ(repeated(SYS_clock_nanosleep, {1, 0, kStack, 0}), SYS_clock_nanosleep);
  EXPECT_EQ(repeated(SYS_clock_nanosleep, {1, 0, kStack, kOther}), std::nullopt);
}

TEST(InterruptedCall, WaitsThatKnowTheirEndAreMadeAgain) {
  EXPECT_EQ(repeated(SYS_poll, {kStack, 2, static_cast<uint64_t>(-1)}), SYS_poll);
  EXPECT_EQ(repeated(SYS_poll, {kStack, 2, 0xffffffff}), SYS_poll);
  EXPECT_EQ(repeated(SYS_poll, {kStack, 2, 1000}), std::nullopt);
  EXPECT_EQ(repeated(SYS_futex, {kStack, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, kOther}), SYS_futex);
  EXPECT_EQ(repeated(SYS_futex, {kStack, FUTEX_WAIT_PRIVATE, 0, kOther}), std::nullopt);
}

// The kernel has begun them again before, and only the arguments tell what they are.
TEST(InterruptedCall, SleepsThatWereBegunAgainAreKnownByTheirArguments) {
  EXPECT_EQ(repeated(SYS_restart_syscall, {kStack, kStack}), SYS_nanosleep);
  EXPECT_EQ(repeated(SYS_restart_syscall, {1, 0, kStack, kStack}), SYS_clock_nanosleep);
  EXPECT_EQ(repeated(SYS_restart_syscall, {0, 0, kStack, 0}), SYS_clock_nanosleep);
  for (const Arguments& of_others : {Arguments{kStack, 2, 1000},
                                     {kStack, 0, 1000},
                                     {0, 0, static_cast<uint64_t>(-1)},
                                     {0, 0, 0xffffffff},
                                     {0, 0, 1000},
                                     {kStack, FUTEX_WAIT_BITSET_PRIVATE, 0, kOther}})
    EXPECT_EQ(repeated(SYS_restart_syscall, of_others), std::nullopt);
}

TEST(InterruptedCall, NothingElseIs) {
  EXPECT_EQ(repeated(SYS_read, {3, kStack, 100}), std::nullopt);
  auto registers = in_call(SYS_nanosleep, {kStack, kStack});
  registers.set_ax(0);
  EXPECT_EQ(call_to_repeat(registers), std::nullopt);
  registers.set_ax(kEintr);
  registers.set_cs(0x23);
  EXPECT_EQ(call_to_repeat(registers), std::nullopt);
  registers = in_call(static_cast<uint64_t>(-1), {kStack, kStack});  // not in a call
  EXPECT_EQ(call_to_repeat(registers), std::nullopt);
}

class InterruptedCallsImages : public testing::Test {
 protected:
  static std::string image_of(const std::string& message) {
    const auto length = static_cast<uint32_t>(message.size());
    return std::string("magic123").append(reinterpret_cast<const char*>(&length), sizeof length).append(message);
  }
  criu::Task task_after(criu::Task task) {
    const std::string unknown = "\xfa\x3e\x03xyz";  // field 1007, which godwit does not know
    must(write_file(image, image_of(task.SerializeAsString() + unknown)));
    must(repeat_interrupted_calls(directory.path()));
    const std::string now = must(read_file(image));
    EXPECT_EQ(now, image_of(now.substr(12)));
    EXPECT_NE(now.find("xyz"), std::string::npos);
    EXPECT_TRUE(task.ParseFromString(now.substr(12)));
    return task;
  }
  ScopedDirectory directory;
  const std::filesystem::path image = directory / "core-7.img";
};

TEST_F(InterruptedCallsImages, TheThreadIsSetBackToBeforeTheCall) {
  criu::Task task;
  *task.mutable_x86()->mutable_registers() = in_call(SYS_nanosleep, {kStack, kStack});
  const criu::Task now = task_after(task);
  EXPECT_EQ(now.x86().registers().ax(), SYS_nanosleep);
  EXPECT_EQ(now.x86().registers().ip(), kCode - 2);
  EXPECT_EQ(now.x86().registers().di(), kStack);
}

TEST_F(InterruptedCallsImages, ASignalThatIsToComeEndsTheCall) {
  criu::Task task;
  *task.mutable_x86()->mutable_registers() = in_call(SYS_nanosleep, {kStack, kStack});
  task.mutable_process()->mutable_pending()->add_one("siginfo");
  EXPECT_EQ(task_after(task).x86().registers().ax(), kEintr);
  task.clear_process();
  task.mutable_thread()->mutable_pending()->add_one("siginfo");
  EXPECT_EQ(task_after(task).x86().registers().ax(), kEintr);
}

TEST_F(InterruptedCallsImages, OneThatIsCutShortIsAnError) {
  for (const std::string& bytes : {std::string("magic"), image_of("\x12\x7f"), image_of("") + "x"}) {
    must(write_file(image, bytes));
    EXPECT_FALSE(repeat_interrupted_calls(directory.path()));
  }
}

}  // namespace
}  // namespace godwit
