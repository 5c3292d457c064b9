// The lens in a real criu that dumps a real process: what godwit owns is absent from the images, all else is there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <set>

#include "kernel/memory_maps.h"
#include "runtime/lens_files.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

constexpr uint64_t kFirst = 0x310000000000, kSecond = 0x320000000000;
constexpr uint64_t kPages = 512;

uint64_t mark_of(uint64_t address) { return (address * 0x9E3779B97F4A7C15) ^ 0x5851F42D4C957F2D; }

void fill(uint64_t start) {
  void* area = ::mmap(reinterpret_cast<void*>(start), kPages * kPageBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (area == MAP_FAILED) ::_exit(90);
  for (uint64_t page = start; page < start + kPages * kPageBytes; page += kPageBytes)
    for (uint64_t word = 0; word < 2; ++word)
      reinterpret_cast<volatile uint64_t*>(page)[word] = word == 0 ? mark_of(page) : ~mark_of(page);
}

class LensKernelTest : public testing::Test {
 protected:
  LensKernelTest() {
    must(make_directories(lens_.directory));
    if (!process_.await_call(SYS_pause)) throw std::runtime_error("the process does not come to rest");
  }
  criu::Response dump(bool with_lens = true) {
    scene_.start({}, with_lens ? std::optional(lens_) : std::nullopt);
    TestRunc runc(scene_.socket());
    runc.say(dump_request(process_.pid()));
    return runc.agree_to_the_end();
  }
  // Addresses of the marked pages in the images.
  std::set<uint64_t> dumped() const {
    std::set<uint64_t> words;
    for (const auto& entry : std::filesystem::directory_iterator(scene_.images())) {
      if (!entry.path().filename().string().starts_with("pages-")) continue;
      const std::string bytes = must(read_file(entry.path(), size_t{256} << 20));
      for (size_t at = 0; at + kPageBytes <= bytes.size(); at += kPageBytes) {
        uint64_t marks[2];  // the test's own heap, which its child has too, may have one of them at such a place
        std::memcpy(marks, bytes.data() + at, sizeof marks);
        if (marks[0] == ~marks[1]) words.insert(marks[0]);
      }
    }
    std::set<uint64_t> pages;
    for (uint64_t start : {kFirst, kSecond})
      for (uint64_t page = start; page < start + kPages * kPageBytes; page += kPageBytes)
        if (words.contains(mark_of(page))) pages.insert(page);
    return pages;
  }
  // What CRIU reads of smaps: the lines of maps and VmFlags.
  std::string essence_of_smaps() const {
    std::string text;
    for (const Mapping& mapping : must(read_smaps(process_.pid())))
      text += mapping.line + "\nVmFlags: " + mapping.vm_flags + "\n";
    return text;
  }
  void write(const PageRanges& owned, const std::string& smaps) {
    must(write_lens(lens_.directory, process_.pid(), owned, smaps));
  }
  static uint64_t count_from(const std::set<uint64_t>& pages, uint64_t start) {
    return static_cast<uint64_t>(
        std::distance(pages.lower_bound(start), pages.lower_bound(start + kPages * kPageBytes)));
  }

  BridgeScene scene_;
  Lens lens_{helpers_directory() / "lens.so", scene_.directory() / "lens"};
  TestProcess process_{[] {
    become_dumpable();
    fill(kFirst);
    fill(kSecond);
    for (;;) ::pause();
  }};
};

TEST_F(LensKernelTest, WithoutItCriuDumpsEverything) {
  ASSERT_TRUE(dump(false).success()) << scene_.log("dump.log");
  EXPECT_EQ(dumped().size(), 2 * kPages);
}

TEST_F(LensKernelTest, OwnedMemoryIsAbsentFromTheImagesAndTheRestIsThere) {
  write({{{kFirst}, kPages}}, essence_of_smaps());
  ASSERT_TRUE(dump().success()) << scene_.log("dump.log");
  const auto pages = dumped();
  EXPECT_EQ(count_from(pages, kFirst), 0u);
  EXPECT_EQ(count_from(pages, kSecond), kPages);
}

TEST_F(LensKernelTest, ManyRangesWithHolesAreKeptApart) {
  PageRanges owned;
  for (uint64_t page = 0; page < kPages; page += 2) owned.push_back({{kFirst + page * kPageBytes}, 1});
  owned.push_back({{kSecond + 100 * kPageBytes}, 300});
  write(owned, "");
  ASSERT_TRUE(dump().success()) << scene_.log("dump.log");
  const auto pages = dumped();
  for (uint64_t page = 0; page < kPages; ++page) {
    EXPECT_EQ(pages.contains(kFirst + page * kPageBytes), page % 2 == 1) << page;
    EXPECT_EQ(pages.contains(kSecond + page * kPageBytes), page < 100 || page >= 400) << page;
  }
}

TEST_F(LensKernelTest, AProcessThatNothingIsSaidAboutIsDumpedWhole) {
  ASSERT_TRUE(dump().success()) << scene_.log("dump.log");
  EXPECT_EQ(dumped().size(), 2 * kPages);
}

TEST_F(LensKernelTest, AFileOfAnOddSizeIsNotBelieved) {
  write({{{kFirst}, kPages}}, "");
  const auto file = lens_.directory / (std::to_string(process_.pid()) + ".owned");
  must(write_file(file, must(read_file(file)) + "x"));
  ASSERT_TRUE(dump().success()) << scene_.log("dump.log");
  EXPECT_EQ(dumped().size(), 2 * kPages);
}

// A dump with a text that makes no sense can only fail if CRIU has read it.
TEST_F(LensKernelTest, TheTextInPlaceOfSmapsIsWhatCriuReads) {
  write({{{kFirst}, kPages}}, "this is no line of smaps\n");
  EXPECT_FALSE(dump().success());
  EXPECT_TRUE(await([&] { return process_.state() == 'S'; }));
}

TEST_F(LensKernelTest, AProgramThatCannotBePreloadedIsNamed) {
  EXPECT_TRUE(check_lens(lens_.library, test_criu()));
  EXPECT_THAT(check_lens("/no/lens.so", test_criu()).error().text(), testing::HasSubstr("/no/lens.so is missing"));
  EXPECT_THAT(check_lens(lens_.library, helpers_directory() / "memory_keeper").error().text(),
              testing::HasSubstr("static program"));
  EXPECT_FALSE(check_lens(lens_.library, "/no/criu"));
  const auto other = scene_.directory() / "criu";
  must(write_file(other, "#!/bin/sh\n", 0700));
  EXPECT_FALSE(check_lens(lens_.library, other));
  std::filesystem::copy_file(test_criu(), other, std::filesystem::copy_options::overwrite_existing);
  ASSERT_EQ(::chmod(other.c_str(), 04755), 0);
  EXPECT_THAT(check_lens(lens_.library, other).error().text(), testing::HasSubstr("set-user-id"));
}

TEST_F(LensKernelTest, ProgramHeadersBeyondTheEndOfTheFileAreNotFollowed) {
  std::string head = must(read_file(test_criu(), size_t{16} << 20)).substr(0, 64);
  const uint64_t beyond = UINT64_MAX - 8;
  for (uint64_t offset : {uint64_t{64}, uint64_t{1} << 40, beyond}) {
    std::memcpy(head.data() + 32, &offset, sizeof offset);  // e_phoff
    const auto file = scene_.directory() / "truncated";
    must(write_file(file, head));
    EXPECT_FALSE(check_lens(lens_.library, file)) << offset;
  }
}

}  // namespace
}  // namespace godwit
