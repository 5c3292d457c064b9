#include "kernel/cgroup_tree.h"

#include <gmock/gmock.h>

namespace godwit {
namespace {

using testing::ElementsAre;

constexpr std::string_view kMountinfo =
    "24 1 0:20 / /proc rw - proc proc rw\n"
    "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "31 29 0:27 / /sys/fs/cgroup/systemd rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n"
    "32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

TEST(CgroupTree, EachHierarchyHasItsDirectory) {
  EXPECT_THAT(parse_cgroup_directories("5:cpu,cpuacct:/box\n1:name=systemd:/box\n0::/unified/box\n", kMountinfo),
              ElementsAre("/sys/fs/cgroup/cpu,cpuacct/box", "/sys/fs/cgroup/systemd/box",
                          "/sys/fs/cgroup/unified/unified/box"));
}

TEST(CgroupTree, HierarchyThatIsNotMountedIsLeftOut) {
  EXPECT_THAT(parse_cgroup_directories("7:memory:/box\n0::/box\n", kMountinfo),
              ElementsAre("/sys/fs/cgroup/unified/box"));
}

TEST(CgroupTree, ColonInANameBelongsToThePath) {
  EXPECT_THAT(parse_cgroup_directories("0::/a:b\n", kMountinfo), ElementsAre("/sys/fs/cgroup/unified/a:b"));
}

TEST(CgroupTree, GarbageIsNoDirectory) { EXPECT_THAT(parse_cgroup_directories("0\n:\n\n", "x\n- -\n"), ElementsAre()); }

}  // namespace
}  // namespace godwit
