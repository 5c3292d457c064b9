#include "migration/tmpfs_choice.h"

#include <gtest/gtest.h>

#include "base/test_support.h"

namespace godwit {
namespace {

// As runC 1.1 makes them.
const std::string kContainer =
    "100 50 8:1 /rootfs / rw - ext4 /dev/sda1 rw\n"
    "101 100 0:50 / /proc rw - proc proc rw\n"
    "102 100 0:51 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"
    "103 102 0:52 / /dev/pts rw - devpts devpts rw\n"
    "104 102 0:53 / /dev/shm rw - tmpfs shm rw,size=65536k\n"
    "105 101 0:51 /null /proc/kcore rw - tmpfs tmpfs rw,size=65536k,mode=755\n"
    "106 101 0:54 / /proc/acpi ro - tmpfs tmpfs ro\n";

std::vector<std::string> taken(const std::string& more, const std::vector<std::string>& binds = {},
                               const std::string& host = "") {
  std::vector<std::string> paths;
  for (const MountEntry& mount :
       choose_tmpfs(must(parse_mountinfo(kContainer + more)), must(parse_mountinfo(host)), binds).taken)
    paths.push_back(mount.mountpoint);
  return paths;
}

using Paths = std::vector<std::string>;

TEST(TmpfsChoice, TakesThoseOfAnOrdinaryContainer) { EXPECT_EQ(taken(""), (Paths{"/dev", "/dev/shm", "/proc/acpi"})); }

TEST(TmpfsChoice, LeavesWhatIsNotTheContainersAlone) {
  EXPECT_EQ(taken("", {"/dev/shm"}), (Paths{"/dev", "/proc/acpi"}));
  EXPECT_EQ(taken("", {}, "20 1 0:53 / /dev/shm rw - tmpfs tmpfs rw\n"), (Paths{"/dev", "/proc/acpi"}));
  EXPECT_EQ(taken("110 100 0:60 / /data rw shared:7 - tmpfs tmpfs rw\n").size(), 3u);
  EXPECT_EQ(taken("110 100 0:60 /part /data rw - tmpfs tmpfs rw\n").size(), 3u);
}

TEST(TmpfsChoice, LeavesWhatIsMountedTwiceOrCovered) {
  EXPECT_EQ(taken("110 100 0:53 / /also rw - tmpfs tmpfs rw\n"), (Paths{"/dev", "/proc/acpi"}));
  EXPECT_EQ(taken("110 104 0:60 / /dev/shm rw - tmpfs tmpfs rw\n"), (Paths{"/dev", "/proc/acpi"}));
  // /a/b was mounted before something was mounted over /a.
  EXPECT_EQ(taken("110 100 0:60 / /a/b rw - tmpfs tmpfs rw\n"
                  "111 100 0:61 / /a rw - tmpfs tmpfs rw\n"),
            (Paths{"/dev", "/dev/shm", "/proc/acpi", "/a"}));
}

TEST(TmpfsChoice, LeavesWhatCriuCouldNotName) {
  EXPECT_EQ(taken("110 100 0:60 / /a]b rw - tmpfs tmpfs rw\n").size(), 3u);
  EXPECT_EQ(taken("110 100 0:60 / /a\\040b rw - tmpfs tmpfs rw\n").size(), 3u);
  EXPECT_EQ(taken("110 100 0:60 / /fine rw - tmpfs tmpfs rw\n").size(), 4u);
  EXPECT_EQ(taken("109 100 0:59 / /fuse rw - fuse.x x rw\n110 109 0:60 / /fuse/t rw - tmpfs tmpfs rw\n").size(), 3u);
}

TEST(TmpfsChoice, SaysWhatIsLeft) {
  const auto choice =
      choose_tmpfs(must(parse_mountinfo(kContainer + "110 100 0:60 / /x rw master:1 - tmpfs t rw\n")), {}, {});
  EXPECT_EQ(choice.left, Paths{"/x"});
}

TEST(TmpfsChoice, ManyMountsAreBounded) {
  std::string many;
  for (int i = 0; i < 100; ++i)
    many += std::to_string(200 + i) + " 100 0:" + std::to_string(200 + i) + " / /t" + std::to_string(i) +
            " rw - tmpfs t rw\n";
  EXPECT_EQ(taken(many).size(), 64u);
}

TEST(TmpfsOptions, OnlyKnownOnesAreTakenOver) {
  const TmpfsOptions options = tmpfs_options("rw,seclabel,size=65536k,nr_inodes=400,mode=1777,uid=1,mpol=bind:0,x=/y");
  EXPECT_EQ(options.at_first, "mode=1777,uid=1");
  EXPECT_EQ(options.at_last, "nr_inodes=400,size=65536k");
  EXPECT_FALSE(options.read_only);
  EXPECT_EQ(tmpfs_options("ro").at_last, kernels_default_size());
  EXPECT_TRUE(tmpfs_options("ro").read_only);
  EXPECT_EQ(tmpfs_options("size=1,mode=0").at_last, "size=1");
}

TEST(TmpfsDeclarations, AreCriusExternalMounts) {
  criu::Options options;
  declare_dumped_tmpfs(3, "/dev/shm", options);
  declare_restored_tmpfs(3, "/run/x/3", options);
  EXPECT_EQ(options.external(0), "mnt[/dev/shm]:godwit-tmpfs-3");
  EXPECT_EQ(options.external(1), "mnt[godwit-tmpfs-3]:/run/x/3");
}

}  // namespace
}  // namespace godwit
