#include "memory/owned_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/test_support.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

using testing::ElementsAre;

std::vector<std::string> owned_names(std::string_view smaps) {
  std::vector<std::string> names;
  for (const Mapping& mapping : owned_mappings(must(parse_smaps(smaps)))) names.push_back(mapping.name);
  return names;
}

constexpr const char* kProgram =
    "1000-2000 r-xp 00000000 fe:01 12   /bin/program\n"
    "VmFlags: rd ex mr mw me sd \n";

TEST(OwnedMemory, IsPrivateAndAnonymous) {
  EXPECT_THAT(owned_names(std::string(kProgram) + "2000-3000 rw-p 00001000 fe:01 12   /bin/program\n"
                                                  "VmFlags: rd wr mr mw me ac sd \n"
                                                  "3000-4000 rw-p 00000000 00:00 0   [heap]\n"
                                                  "VmFlags: rd wr mr mw me ac sd \n"
                                                  "4000-5000 rw-p 00000000 00:00 0   [anon:arena]\n"
                                                  "VmFlags: rd wr mr mw me ac sd hg \n"
                                                  "5000-6000 ---p 00000000 00:00 0 \n"
                                                  "VmFlags: mr mw me sd \n"
                                                  "6000-7000 rw-s 00000000 00:01 77   /dev/zero (deleted)\n"
                                                  "VmFlags: rd wr sh mr mw me ms sd \n"
                                                  "7000-8000 rw-p 00000000 00:00 0   [stack]\n"
                                                  "VmFlags: rd wr mr mw me gd ac \n"
                                                  "8000-9000 r--p 00000000 00:00 0   [vvar]\n"
                                                  "VmFlags: rd mr pf io de dd sd \n"
                                                  "9000-a000 r-xp 00000000 00:00 0   [vdso]\n"
                                                  "VmFlags: rd ex mr mw me de sd \n"),
              ElementsAre("[heap]", "[anon:arena]", "", "[stack]"));
}

TEST(OwnedMemory, SpecialMemoryIsLeftToCriu) {
  for (const char* flag : {"lo", "ht", "dp", "io", "pf"})
    EXPECT_THAT(
        owned_names(std::string(kProgram) + "3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr " + flag + " ac \n"),
        ElementsAre())
        << flag;
}

TEST(OwnedMemory, ANameIsNotAFlagAndAFileIsNoHeap) {
  EXPECT_THAT(owned_names(std::string(kProgram) + "3000-4000 rw-p 00000000 00:00 0   [anon:VmFlags: lo]\n"
                                                  "VmFlags: rd wr \n"
                                                  "4000-5000 rw-p 00000000 fe:01 5   [heap]\n"
                                                  "VmFlags: rd wr \n"
                                                  "5000-6000 rw-p 00000000 00:00 0   [heap] (deleted)\n"
                                                  "VmFlags: rd wr \n"),
              ElementsAre("[anon:VmFlags: lo]"));
}

TEST(OwnedMemory, TheFirstCodeIsToBeReadFirstIfItIsOwned) {
  const std::string data = "1000-2000 rw-p 00000000 00:00 0   [anon:data]\nVmFlags: rd wr \n";
  const std::string code = "2000-3000 rwxp 00000000 00:00 0   [anon:first]\nVmFlags: rd wr ex \n";
  const std::string locked = "2000-3000 rwxp 00000000 00:00 0 \nVmFlags: rd wr ex lo \n";
  const std::string more = "3000-4000 rwxp 00000000 00:00 0   [anon:second]\nVmFlags: rd wr ex \n";
  EXPECT_THAT(owned_names(data + code + more), ElementsAre("[anon:data]", "[anon:first]", "[anon:second]"));
  EXPECT_EQ(first_code(must(parse_smaps(data + code + more))), (PageRanges{{{0x2000}, 1}}));
  EXPECT_EQ(first_code(must(parse_smaps(data + locked + more))), PageRanges{});
  EXPECT_EQ(first_code(must(parse_smaps(kProgram + more))), PageRanges{});
  EXPECT_EQ(first_code(must(parse_smaps(data))), PageRanges{});
}

TEST(OwnedMemory, WithoutKnownFlagsItIsTakenToBeOrdinary) {
  EXPECT_THAT(owned_names(std::string(kProgram) + "3000-4000 rw-p 00000000 00:00 0 \n"
                                                  "4000-5000 rw-p 00000000 00:0f 99   /anon_hugepage (deleted)\n"),
              ElementsAre(""));
}

TEST(OwnedMemory, NeighboursAreOneRange) {
  const auto mappings =
      must(parse_maps("1000-2000 rw-p 00000000 00:00 0 \n"
                      "2000-4000 r--p 00000000 00:00 0 \n"
                      "5000-6000 rw-p 00000000 00:00 0 \n"));
  EXPECT_EQ(ranges_of(mappings), (PageRanges{{{0x1000}, 3}, {{0x5000}, 1}}));
}

TEST(OwnedMemory, TheTextForCriuIsMapsWithFlagsOrNothing) {
  auto mappings = must(parse_smaps("1000-2000 rw-p 00000000 00:00 0   [heap]\nSize: 4 kB\nVmFlags: rd wr \n"));
  EXPECT_EQ(smaps_text(mappings), "1000-2000 rw-p 00000000 00:00 0   [heap]\nVmFlags: rd wr \n");
  mappings[0].vm_flags.clear();
  EXPECT_EQ(smaps_text(mappings), "");
}

// --- What is learned of a running process -------------------------------------------------------------------------

class LearnedFlags : public testing::Test {
 protected:
  // A process that runs each of STEPS when it is told to.
  void start(std::vector<std::function<void()>> steps) {
    process_ = std::make_unique<TestProcess>([this, steps = std::move(steps)] {
      for (size_t i = 0; i < steps.size(); ++i) {
        while (board_[0] <= i) ::usleep(200);
        steps[i]();
        board_[1] = i + 1;
      }
      for (;;) ::pause();
    });
    must(flags_.learn(process_->pid()));
  }
  void next_step() {
    const uint64_t step = ++board_[0];
    ASSERT_TRUE(await([&] { return board_[1] == step; }));
  }
  std::vector<Mapping> complete() { return must(flags_.complete(process_->pid())); }
  static size_t without_flags(const std::vector<Mapping>& mappings) {
    return static_cast<size_t>(
        std::ranges::count_if(mappings, [](const Mapping& mapping) { return mapping.vm_flags.empty(); }));
  }
  static void* map(size_t bytes) {
    return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  Board board_;
  MappingFlags flags_;
  std::unique_ptr<TestProcess> process_;
};

TEST_F(LearnedFlags, AreThoseOfSmaps) {
  start({});
  const auto completed = complete();
  const auto smaps = must(read_smaps(process_->pid()));
  ASSERT_EQ(completed.size(), smaps.size());
  for (size_t i = 0; i < smaps.size(); ++i) {
    EXPECT_EQ(completed[i].line, smaps[i].line);
    EXPECT_EQ(completed[i].vm_flags, smaps[i].vm_flags);
  }
}

TEST_F(LearnedFlags, ANewMappingHasNoneUntilLearnedAgain) {
  start({[] { ::mprotect(map(16 * kPageBytes), kPageBytes, PROT_NONE); }});
  next_step();
  EXPECT_GT(without_flags(complete()), 0u);
  must(flags_.learn(process_->pid()));
  EXPECT_EQ(without_flags(complete()), 0u);
}

TEST_F(LearnedFlags, MemoryLockedLaterIsSeen) {
  char* memory = static_cast<char*>(map(64 * kPageBytes));
  const RemoteAddr address{reinterpret_cast<uint64_t>(memory)};
  start({[=] { ::mlockall(MCL_CURRENT); }});
  auto is_locked = [&] {
    for (const Mapping& mapping : complete())
      if (mapping.range().contains(address)) return mapping.has_flag("lo");
    return false;
  };
  EXPECT_FALSE(is_locked());
  next_step();
  EXPECT_TRUE(is_locked());
  ::munmap(memory, 64 * kPageBytes);
}

}  // namespace
}  // namespace godwit
