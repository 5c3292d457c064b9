#include "kernel/mounts.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/test_support.h"

namespace godwit {
namespace {

TEST(Mountinfo, IsReadByPosition) {
  const auto mounts =
      must(parse_mountinfo("600 500 0:52 / / rw,relatime - overlay overlay rw,lowerdir=/a\n"
                           "611 600 0:60 / /dev/shm rw,nosuid - tmpfs shm rw,size=65536k\n"
                           "612 600 0:61 /a\\040b /mnt rw shared:4 master:2 - tmpfs  ro\n"));
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[1].id, 611);
  EXPECT_EQ(mounts[1].parent, 600);
  EXPECT_EQ(mounts[1].device, makedev(0, 60));
  EXPECT_EQ(mounts[1].root, "/");
  EXPECT_EQ(mounts[1].mountpoint, "/dev/shm");
  EXPECT_FALSE(mounts[1].propagates);
  EXPECT_EQ(mounts[1].type, "tmpfs");
  EXPECT_EQ(mounts[1].source, "shm");
  EXPECT_EQ(mounts[1].super_options, "rw,size=65536k");
  EXPECT_EQ(mounts[2].root, "/a\\040b");
  EXPECT_TRUE(mounts[2].propagates);
  EXPECT_EQ(mounts[2].source, "");
  EXPECT_EQ(mounts[2].super_options, "ro");
}

TEST(Mountinfo, CgroupHierarchiesAreCalledAsTheyAreMounted) {
  const auto mounts =
      must(parse_mountinfo("30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                           "31 29 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                           "32 29 0:26 / /mnt/memory rw - cgroup cgroup rw,memory\n"
                           "33 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"));
  EXPECT_EQ(cgroup_v1_mounts(mounts), (std::vector<std::string>{"cpu,cpuacct", "memory"}));
}

TEST(Mountinfo, ALineOfAnotherFormIsAnError) {
  for (const char* line : {"600 500 0:52 / / rw", "x 500 0:52 / / rw - tmpfs tmpfs rw", "600 500 52 / / rw - t t rw",
                           "600 500 0:52 / / rw - tmpfs", "\n"})
    EXPECT_FALSE(parse_mountinfo(line)) << line;
}

TEST(Mountinfo, OfThisProcessHasARoot) {
  const auto mounts = must(read_mounts(::getpid()));
  EXPECT_TRUE(std::ranges::any_of(mounts, [](const MountEntry& mount) { return mount.mountpoint == "/"; }));
}

}  // namespace
}  // namespace godwit
