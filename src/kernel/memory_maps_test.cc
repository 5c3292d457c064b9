#include "kernel/memory_maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/test_support.h"

namespace godwit {
namespace {

TEST(MemoryMaps, AreReadByPosition) {
  const auto mappings = must(parse_maps(
      "55d0c0a00000-55d0c0a02000 r-xp 00001000 fe:01 1234                       /usr/bin/program with blanks\n"
      "55d0c1b00000-55d0c1b21000 rw-p 00000000 00:00 0                          [heap]\n"
      "7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
      "7f0000001000-7f0000002000 rw-s 0000a000 00:01 99                         /memfd:x (deleted)\n"
      "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n"));
  ASSERT_EQ(mappings.size(), 5u);
  EXPECT_EQ(mappings[0].range(), (PageRange{{0x55d0c0a00000}, 2}));
  EXPECT_TRUE(mappings[0].readable && !mappings[0].writable && mappings[0].executable && !mappings[0].shared);
  EXPECT_EQ(mappings[0].offset, 0x1000u);
  EXPECT_EQ(mappings[0].inode, 1234u);
  EXPECT_EQ(mappings[0].name, "/usr/bin/program with blanks");
  EXPECT_EQ(mappings[1].name, "[heap]");
  EXPECT_EQ(mappings[2].name, "");
  EXPECT_FALSE(mappings[2].readable);
  EXPECT_TRUE(mappings[3].shared);
  EXPECT_EQ(mappings[3].name, "/memfd:x (deleted)");
  EXPECT_EQ(mappings[2].line, "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ");
}

TEST(MemoryMaps, NamesThatLookLikeSomethingElseAreNames) {
  // The kernel writes a newline in a name as \012.
  const auto mappings = must(parse_smaps(
      "1000-2000 rw-p 00000000 00:00 0                          [anon:VmFlags: lo]\n"
      "VmFlags: rd wr mr mw me ac \n"
      "2000-3000 rw-p 00000000 fe:01 7                          /tmp/a\\012VmFlags: lo\\0123000-4000 rw-p\n"
      "VmFlags: rd wr ht \n"
      "3000-4000 rw-p 00000000 fe:01 7                          /tmp/x (deleted) (deleted)\n"
      "VmFlags: rd \n"
      "4000-5000 rw-p 00000000 fe:01 7                          /tmp/5000-6000 rw-p 00000000 00:00 0 [heap]\n"
      "VmFlags: rd \n"));
  ASSERT_EQ(mappings.size(), 4u);
  EXPECT_EQ(mappings[0].name, "[anon:VmFlags: lo]");
  EXPECT_FALSE(mappings[0].has_flag("lo"));
  EXPECT_EQ(mappings[1].name, "/tmp/a\\012VmFlags: lo\\0123000-4000 rw-p");
  EXPECT_TRUE(mappings[1].has_flag("ht"));
  EXPECT_FALSE(mappings[1].has_flag("lo"));
  EXPECT_EQ(mappings[2].name, "/tmp/x (deleted) (deleted)");
  EXPECT_EQ(mappings[3].name, "/tmp/5000-6000 rw-p 00000000 00:00 0 [heap]");
}

TEST(MemoryMaps, DetailsOfSmapsAreSkippedButTheFlags) {
  const auto mappings =
      must(parse_smaps("1000-2000 rw-p 00000000 00:00 0 \n"
                       "Size:                  4 kB\n"
                       "AnonHugePages:         0 kB\n"
                       "THPeligible:           0\n"
                       "VmFlags: rd wr mr mw me ac sd \n"
                       "2000-3000 r--p 00000000 00:00 0                          [vvar]\n"
                       "ProtectionKey:         0\n"));
  ASSERT_EQ(mappings.size(), 2u);
  EXPECT_EQ(mappings[0].vm_flags, "rd wr mr mw me ac sd ");
  EXPECT_TRUE(mappings[0].has_flag("rd"));
  EXPECT_TRUE(mappings[0].has_flag("sd"));
  EXPECT_FALSE(mappings[0].has_flag("d "));  // two letters at their place, not anywhere
  EXPECT_FALSE(mappings[0].has_flag("dw"));
  EXPECT_EQ(mappings[1].vm_flags, "");
  EXPECT_FALSE(mappings[1].has_flag("rd"));
}

TEST(MemoryMaps, WhatIsNoLineOfMapsIsAnError) {
  for (const char* text : {"x\n", "\n", "1000-2000\n", "1000-2000 rw-p\n", "1000-2000 rw-p 0 00:00\n",
                           "2000-1000 rw-p 00000000 00:00 0 \n", "1000-1000 rw-p 00000000 00:00 0 \n",
                           "1001-2000 rw-p 00000000 00:00 0 \n", "11112222333344445-2000 rw-p 00000000 00:00 0 \n",
                           "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\n"})
    EXPECT_FALSE(parse_maps(text)) << text;
  EXPECT_FALSE(parse_maps("2000-3000 rw-p 00000000 00:00 0 \n1000-2000 rw-p 00000000 00:00 0 \n"));
  EXPECT_FALSE(parse_maps("1000-3000 rw-p 00000000 00:00 0 \n2000-4000 rw-p 00000000 00:00 0 \n"));
}

TEST(MemoryMaps, NoTextIsNoMapping) {
  EXPECT_TRUE(must(parse_maps("")).empty());
  EXPECT_TRUE(must(parse_smaps("VmFlags: rd \n")).empty());
  EXPECT_EQ(must(parse_maps("1000-2000 rw-p 00000000 00:00 0")).size(), 1u);
}

TEST(MemoryMaps, OfAProcessThatIsNotThereAreAnError) {
  EXPECT_FALSE(read_maps(1 << 30));
  const auto own = must(read_maps(::getpid()));
  const auto with_flags = must(read_smaps(::getpid()));
  EXPECT_FALSE(own.empty());
  EXPECT_TRUE(with_flags[0].has_flag("rd"));
}

}  // namespace
}  // namespace godwit
