#include "kernel/cgroup_tree.h"

#include <gmock/gmock.h>

namespace godwit {
namespace {

using testing::ElementsAre;

std::vector<std::filesystem::path> directories_of(std::string_view cgroup) {
  const auto mounts = parse_mountinfo(
      "24 1 0:20 / /proc rw - proc proc rw\n"
      "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
      "31 29 0:27 / /sys/fs/cgroup/systemd rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n"
      "32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  return parse_cgroup_directories(cgroup, mounts.value());
}

TEST(CgroupTree, EachHierarchyHasItsDirectory) {
  EXPECT_THAT(directories_of("5:cpu,cpuacct:/box\n1:name=systemd:/box\n0::/unified/box\n"),
              ElementsAre("/sys/fs/cgroup/cpu,cpuacct/box", "/sys/fs/cgroup/systemd/box",
                          "/sys/fs/cgroup/unified/unified/box"));
}

TEST(CgroupTree, HierarchyThatIsNotMountedIsLeftOut) {
  EXPECT_THAT(directories_of("7:memory:/box\n0::/box\n"), ElementsAre("/sys/fs/cgroup/unified/box"));
}

TEST(CgroupTree, ColonInANameBelongsToThePath) {
  EXPECT_THAT(directories_of("0::/a:b\n"), ElementsAre("/sys/fs/cgroup/unified/a:b"));
}

TEST(CgroupTree, GarbageIsNoDirectory) { EXPECT_THAT(directories_of("0\n:\n\n"), ElementsAre()); }

}  // namespace
}  // namespace godwit
