// With a script in runC's place: what is read of its output, and what it is asked.
#include "runtime/runc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "base/file.h"
#include "base/test_support.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class RuncTest : public testing::Test {
 protected:
  RuncTest() {
    must(make_directories(paths_.root / "redis"));
    must(write_file(paths_.root / "redis/state.json",
                    R"({"cgroup_paths": {"freezer": "/sys/fs/cgroup/freezer/redis", "memory": "/m"},
                        "config": {"cgroups": {"path": "/redis"}}})"));
  }

  // ANSWER is a shell script; its arguments are noted in the file `asked`.
  void runc_answers(const std::string& answer) {
    must(write_file(paths_.runc, "#!/bin/sh\necho \"$@\" >>" + (directory_ / "asked").string() + "\n" + answer, 0700));
  }
  std::string asked() const { return read_file(directory_ / "asked").value_or(""); }

  ScopedDirectory directory_;
  RuncPaths paths_{directory_ / "runc", directory_ / "root", directory_ / "helpers"};
  Runc runc_{paths_};
};

TEST_F(RuncTest, StateIsWhatRuncSaysAndRecords) {
  runc_answers(R"(echo '{"id": "redis", "status": "running", "pid": 77, "bundle": "/b"}')");
  const ContainerState state = must(runc_.state("redis"));
  EXPECT_EQ(state.name, "redis");
  EXPECT_EQ(state.status, "running");
  EXPECT_EQ(state.pid, 77);
  EXPECT_EQ(state.bundle, "/b");
  EXPECT_EQ(state.freezer_cgroup, "/sys/fs/cgroup/freezer/redis");
  EXPECT_EQ(state.cgroup_path, "/redis");
  EXPECT_EQ(asked(), "--root " + paths_.root.string() + " state redis\n");
}

TEST_F(RuncTest, OnTheUnifiedHierarchyThereIsOneCgroup) {
  must(write_file(paths_.root / "redis/state.json", R"({"cgroup_paths": {"": "/sys/fs/cgroup/redis"}})"));
  runc_answers(R"(echo '{"id": "redis", "status": "running"}')");
  EXPECT_EQ(must(runc_.state("redis")).freezer_cgroup, "/sys/fs/cgroup/redis");
}

TEST_F(RuncTest, AnUnknownContainerIsNotAskedFor) {
  runc_answers("echo '{}'");
  EXPECT_EQ(runc_.state("nobody").error().code(), ENOENT);
  EXPECT_THAT(runc_.state("nobody").error().text(), HasSubstr("there is no container 'nobody' here"));
  EXPECT_FALSE(runc_.state("../root/redis"));
  EXPECT_FALSE(runc_.exists(".."));
  EXPECT_EQ(asked(), "");
}

TEST_F(RuncTest, OutputThatIsNoneIsAnError) {
  for (const char* output : {"", "{", "null", "[]", R"({"id": 5})"}) {
    runc_answers("echo '" + std::string(output) + "'");
    EXPECT_FALSE(runc_.state("redis")) << output;
  }
  must(write_file(paths_.root / "redis/state.json", R"({"cgroup_paths": {"freezer": 5}})"));
  runc_answers(R"(echo '{"id": "redis"}')");
  EXPECT_FALSE(runc_.state("redis"));
}

TEST_F(RuncTest, WhatRuncComplainsAboutIsQuoted) {
  runc_answers("echo 'level=error msg=broken' >&2; exit 1");
  EXPECT_THAT(runc_.state("redis").error().text(), HasSubstr("msg=broken"));
}

TEST_F(RuncTest, TheListMayBeEmpty) {
  runc_answers("echo null");
  EXPECT_TRUE(must(runc_.list()).empty());
  runc_answers(R"(echo '[{"id": "a", "status": "running"}, {"id": "b", "status": "stopped"}]')");
  const auto list = must(runc_.list());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1].name, "b");
  EXPECT_EQ(list[1].status, "stopped");
}

TEST_F(RuncTest, TheVersionIsTheFirstLines) {
  runc_answers("echo 'runc version 1.1.5+ds1'; echo 'spec: 1.0.2-dev'");
  EXPECT_EQ(must(runc_.version()), "1.1.5+ds1");
}

TEST_F(RuncTest, RemovingWhatIsNotThereIsDone) {
  runc_answers("exit 1");
  EXPECT_TRUE(runc_.remove("nobody"));
  EXPECT_FALSE(runc_.remove("redis"));
  EXPECT_THAT(asked(), HasSubstr("delete --force redis"));
}

// `runc delete` removes its state recursively: through this mount, the container's root file system.
TEST_F(RuncTest, TheRootFileSystemIsUnmountedBeforeRuncRemovesItsState) {
  must(make_directories(directory_ / "rootfs"));
  must(write_file(directory_ / "rootfs/precious", "data"));
  const auto mounted = paths_.root / "redis/criu-root";
  must(make_directories(mounted));
  ASSERT_EQ(::mount((directory_ / "rootfs").c_str(), mounted.c_str(), nullptr, MS_BIND, nullptr), 0)
      << "needs to be root";
  runc_answers("rm -rf " + (paths_.root / "redis").string());
  EXPECT_TRUE(runc_.remove("redis"));
  EXPECT_EQ(must(read_file(directory_ / "rootfs/precious")), "data");
  EXPECT_FALSE(std::filesystem::exists(paths_.root / "redis"));
}

TEST_F(RuncTest, CriusVersionIsInALineOfItsOwn) {
  runc_answers("echo 'Version: 4.2.1'; echo 'GitID: v4.2.1'");
  EXPECT_EQ(must(criu_version(paths_.runc)), "4.2.1");
  runc_answers("echo something else");
  EXPECT_FALSE(criu_version(paths_.runc));
  EXPECT_FALSE(criu_version("/no/such/criu"));
}

}  // namespace
}  // namespace godwit
