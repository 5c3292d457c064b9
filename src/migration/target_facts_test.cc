#include "migration/target_facts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/test_support.h"
#include "kernel/mounts.h"
#include "kernel/proc.h"
#include "migration/own_bundles.h"

namespace godwit {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// A host with a root file system in a directory; its runC and CRIU are missing, which is a problem of its own.
class JudgeTest : public testing::Test {
 protected:
  JudgeTest() {
    host_.node = "node2";
    host_.run_directory = directory_ / "run";
    host_.runc = {"/no/such/runc", directory_ / "runc", "/no/such/stub"};
    host_.criu = "/no/such/criu";
    host_.image_bytes_max = uint64_t{1} << 34;
    must(make_directories(host_.run_directory));
    must(make_directories(rootfs() / "bin"));
    must(write_file(rootfs() / "bin/server", "program"));
    request_.set_container("redis");
    request_.set_bundle((directory_ / "bundle").string());
    set_config({{"root", {{"path", rootfs().string()}}}});
  }

  std::filesystem::path rootfs() const { return directory_ / "rootfs"; }
  void set_config(const nlohmann::json& config) { request_.set_config_json(config.dump()); }

  peer::FileIdentity* add_file(const std::string& path, uint64_t size, uint32_t mode = S_IFREG | 0600) {
    peer::FileIdentity* file = request_.add_files();
    file->set_path(path);
    file->set_size(size);
    file->set_mode(mode);
    return file;
  }

  std::vector<std::string> problems(const std::string& subject) const {
    std::vector<std::string> texts;
    const peer::PreflightReply reply = judge(host_, request_);
    for (const peer::Problem& problem : reply.problems())
      if (problem.subject() == subject) texts.push_back(problem.text());
    return texts;
  }

  ScopedDirectory directory_;
  Host host_;
  peer::Preflight request_;
};

TEST_F(JudgeTest, MissingProgramsAreNamed) {
  EXPECT_THAT(problems("criu"), Contains(HasSubstr("/no/such/criu does not exist")));
  EXPECT_THAT(problems("runc"), Contains(HasSubstr("/no/such/runc")));
}

TEST_F(JudgeTest, ANameThatIsTakenOrNoneIsAProblem) {
  EXPECT_THAT(problems("name"), IsEmpty());
  must(make_directories(host_.runc.root / "redis"));
  EXPECT_THAT(problems("name"), Contains("there is a container 'redis' on node2 already"));
  request_.set_container("../redis");
  EXPECT_THAT(problems("name"), Contains(HasSubstr("container name")));
}

TEST_F(JudgeTest, MemoryIsMeasuredAgainstTheLimitAndWhatIsThere) {
  request_.set_memory_bytes(uint64_t{100} << 20);
  EXPECT_THAT(problems("memory"), IsEmpty());
  host_.image_bytes_max = uint64_t{100} << 20;
  EXPECT_THAT(problems("memory"), Contains(HasSubstr("limits.image_bytes_max on node2 is 100 MiB")));
  host_.image_bytes_max = uint64_t{1} << 50;
  request_.set_memory_bytes(proc::meminfo_bytes("MemTotal"));
  EXPECT_THAT(problems("memory"), Contains(HasSubstr("are available")));
}

TEST_F(JudgeTest, AMemoryFigureWithoutMeaningDoesNotWrapRound) {
  for (uint64_t bytes : {UINT64_MAX, UINT64_MAX / 2 + 1, uint64_t{1} << 62}) {
    request_.set_memory_bytes(bytes);
    EXPECT_EQ(problems("memory").size(), 2u) << bytes;
  }
}

TEST_F(JudgeTest, OnlyProcessorFeaturesThatProgramsUseMatter) {
  for (const std::string& flag : proc::cpu_flags()) request_.add_cpu_flags(flag);
  request_.add_cpu_flags("some_mitigation");
  EXPECT_THAT(problems("cpu"), IsEmpty());
  request_.add_cpu_flags("avx9001");
  EXPECT_THAT(problems("cpu"), Contains(HasSubstr("lacks features that programs may be using: avx9001")));
}

TEST_F(JudgeTest, MountedCgroupHierarchiesHaveToBeHere) {
  for (const std::string& name : cgroup_v1_mounts(must(read_mounts(::getpid())))) request_.add_cgroup_v1_mounts(name);
  EXPECT_THAT(problems("cgroups"), IsEmpty());
  request_.add_cgroup_v1_mounts("no-such-controller");
  EXPECT_THAT(problems("cgroups"), Contains(HasSubstr("that node2 does not have: no-such-controller")));
}

TEST_F(JudgeTest, TheBridgeIsTheSourcesUnlessTheConfigurationNamesOne) {
  EXPECT_THAT(problems("bridge"), IsEmpty());  // the source says itself that there is none
  peer::Link& link = *request_.add_links();
  link.set_name("eth0");
  link.set_mac("\x02\x01\x02\x03\x04\x05");
  link.set_bridge("gwt-none0");
  EXPECT_THAT(problems("bridge"), Contains(HasSubstr("gwt-none0")));
  host_.bridge = "gwt-none1";
  EXPECT_THAT(problems("bridge"), Contains(HasSubstr("gwt-none1")));
  host_.links["gwt-none0"] = "gwt-none2";
  EXPECT_THAT(problems("bridge"), Contains(HasSubstr("gwt-none2, for the container's eth0, does not exist")));
  request_.mutable_links()->Add()->set_mac("short");
  EXPECT_THAT(problems("network"), Contains(HasSubstr("six bytes")));
}

TEST_F(JudgeTest, TheSameRootFileSystemIsNoProblem) {
  add_file("/bin/server", 7);
  EXPECT_THAT(problems("rootfs"), IsEmpty());
}

TEST_F(JudgeTest, DifferencesOfTheRootFileSystemAreNamed) {
  add_file("/bin/server", 8);
  add_file("/bin/other", 7);
  add_file("/bin/server", 7, S_IFREG | 0755);
  EXPECT_THAT(problems("rootfs"),
              testing::ElementsAre(rootfs().string() + "/bin/server has 7 bytes on node2 and 8 on the source",
                                   rootfs().string() + "/bin/other is missing on node2",
                                   rootfs().string() + "/bin/server has mode 600 on node2 and 755 on the source"));
}

TEST_F(JudgeTest, ManyDifferencesAreCounted) {
  for (int i = 0; i < 100; ++i) add_file("/lib/" + std::to_string(i), 1);
  EXPECT_EQ(problems("rootfs").size(), 6u);
  EXPECT_EQ(problems("rootfs").back(), "and 95 more files");
}

TEST_F(JudgeTest, LinksAndPathsDoNotLeadOutOfTheRoot) {
  must(write_file(directory_ / "outside", "program"));
  std::filesystem::create_symlink(directory_ / "outside", rootfs() / "bin/absolute");
  std::filesystem::create_symlink("../../outside", rootfs() / "bin/relative");
  for (const char* path : {"/bin/absolute", "/bin/relative", "/../outside", "/bin/../../outside"}) {
    request_.clear_files();
    add_file(path, 7);
    EXPECT_THAT(problems("rootfs"), Contains(HasSubstr("is missing on node2"))) << path;
  }
  // Within the root they work as in the container.
  std::filesystem::create_symlink("/bin/server", rootfs() / "bin/good");
  request_.clear_files();
  add_file("/bin/good", 7);
  EXPECT_THAT(problems("rootfs"), IsEmpty());
}

TEST_F(JudgeTest, AMissingRootFileSystemIsNamed) {
  set_config({{"root", {{"path", "/no/such/rootfs"}}}});
  EXPECT_THAT(problems("rootfs"), Contains(StartsWith("/no/such/rootfs does not exist on node2")));
}

TEST_F(JudgeTest, AConfigurationThatCannotBeReadIsAProblem) {
  for (const char* text : {"", "{", "[]", "null", R"({"root": 5})", R"({"root": {}})"}) {
    request_.set_config_json(text);
    EXPECT_EQ(problems("config").size(), 1u) << text;
  }
}

TEST_F(JudgeTest, SourcesOfBindMountsAndFilesOfStreamsMustBeThere) {
  set_config({{"root", {{"path", rootfs().string()}}},
              {"mounts", {{{"type", "bind"}, {"source", "/no/such/data"}, {"destination", "/data"}}}}});
  EXPECT_THAT(problems("mounts"), Contains("/no/such/data (mounted on /data) does not exist on node2"));

  peer::Stream* output = request_.add_streams();
  output->set_kind(peer::Stream::FILE);
  output->set_fd(1);
  output->set_flags(O_WRONLY);
  output->set_path((directory_ / "new.log").string());
  EXPECT_THAT(problems("streams"), IsEmpty());  // it is made
  output->set_path("/no/such/directory/log");
  EXPECT_THAT(problems("streams"), Contains(StartsWith("/no/such/directory, where descriptor 1")));
  output->set_path((directory_ / "input").string());
  output->set_flags(O_RDONLY);
  EXPECT_EQ(problems("streams").size(), 1u);  // what is read must be there
}

TEST_F(JudgeTest, ANetworkNamespaceThatIsTakenIsAProblem) {
  set_config({{"root", {{"path", rootfs().string()}}},
              {"linux", {{"namespaces", {{{"type", "network"}, {"path", rootfs().string()}}}}}}});
  EXPECT_THAT(problems("network"), Contains(HasSubstr("exists on node2 already")));
}

TEST_F(JudgeTest, JudgingChangesNothing) {
  add_file("/bin/server", 7);
  (void)judge(host_, request_);
  EXPECT_TRUE(std::filesystem::is_empty(host_.run_directory));
  EXPECT_FALSE(std::filesystem::exists(host_.runc.root));
}

TEST_F(JudgeTest, TheSourcesBundleIsUsedWhereItIsTheSame) {
  EXPECT_EQ(bundle_on_target(host_, request_), own_bundle_directory(host_, "redis"));
  must(make_directories(directory_ / "bundle"));
  must(write_file(directory_ / "bundle/config.json", request_.config_json()));
  EXPECT_EQ(bundle_on_target(host_, request_), directory_ / "bundle");
  must(write_file(directory_ / "bundle/config.json", request_.config_json() + " "));
  EXPECT_EQ(bundle_on_target(host_, request_), own_bundle_directory(host_, "redis"));
}

}  // namespace
}  // namespace godwit
