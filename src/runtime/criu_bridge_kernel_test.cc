// The bridge between a real criu and the test in runC's place: real processes are dumped and restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <future>

#include "runtime/test_criu.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class CriuBridgeKernelTest : public testing::Test {
 protected:
  // A dump of sleeper_ that runC agrees to.
  void begin_dump() {
    runc_.emplace(scene_.socket());
    runc_->say(dump_request(sleeper_.pid()));
    answer_ = std::async(std::launch::async, [this] { return runc_->agree_to_the_end(); });
  }
  criu::Response final_answer() { return answer_.get(); }

  bool runs(TestProcess& process) {
    return await([&] { return process.state() == 'S'; });
  }

  BridgeScene scene_;
  TestProcess sleeper_{sleeping_program()};
  std::optional<TestRunc> runc_;
  std::future<criu::Response> answer_;
};

TEST_F(CriuBridgeKernelTest, OtherRequestsReachTheRealCriuAndAreAnswered) {
  scene_.start({});
  for (int i = 0; i < 2; ++i) {  // runC starts criu more than once
    TestRunc runc(scene_.socket());
    runc.say(request_of(criu::VERSION));
    const criu::Response version = runc.hear();
    EXPECT_EQ(version.type(), criu::VERSION);
    EXPECT_TRUE(version.success());
    runc.hang_up();
    EXPECT_EQ(runc.criu().wait(), 0);
  }
  EXPECT_EQ(scene_.failures(), 0);
}

TEST_F(CriuBridgeKernelTest, ADumpIsHeldAtItsPointsInTheirOrder) {
  CriuBridge& bridge = scene_.start({CriuPoint::kRequest, CriuPoint::kPreDump, CriuPoint::kPostDump});
  begin_dump();
  must(bridge.await(CriuPoint::kRequest, in_ms(20000)));
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_FALSE(bridge.reached_at(CriuPoint::kPreDump));
  bridge.release(CriuPoint::kRequest);

  must(bridge.await(CriuPoint::kPreDump, in_ms(20000)));
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_FALSE(bridge.reached_at(CriuPoint::kPostDump));
  bridge.release(CriuPoint::kPreDump);

  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  EXPECT_EQ(sleeper_.state(), 't');
  EXPECT_TRUE(std::filesystem::exists(scene_.images() / "inventory.img"));
  EXPECT_TRUE(runc_->scripts().empty());  // runC is not asked before the migration has agreed
  bridge.release(CriuPoint::kPostDump);

  EXPECT_TRUE(final_answer().success());
  EXPECT_EQ(runc_->scripts(), std::vector<std::string>{"post-dump"});
  EXPECT_TRUE(WIFSIGNALED(sleeper_.wait()));
  EXPECT_LT(*bridge.reached_at(CriuPoint::kRequest), *bridge.reached_at(CriuPoint::kPreDump));
  EXPECT_LT(*bridge.reached_at(CriuPoint::kPreDump), *bridge.reached_at(CriuPoint::kPostDump));
  EXPECT_EQ(scene_.failures(), 0);
  EXPECT_FALSE(bridge.died());
}

TEST_F(CriuBridgeKernelTest, RefusedBeforeTheRequestCriuNeverHearsOfIt) {
  CriuBridge& bridge = scene_.start({CriuPoint::kRequest});
  runc_.emplace(scene_.socket());
  runc_->say(dump_request(sleeper_.pid()));
  must(bridge.await(CriuPoint::kRequest, in_ms(20000)));
  bridge.refuse();
  EXPECT_TRUE(runc_->closed());
  runc_->criu().wait();
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_TRUE(std::filesystem::is_empty(scene_.images()));
}

TEST_F(CriuBridgeKernelTest, RefusedAtPreDumpNothingHasBeenTouched) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPreDump});
  begin_dump();
  must(bridge.await(CriuPoint::kPreDump, in_ms(20000)));
  bridge.refuse();
  EXPECT_FALSE(final_answer().success());
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_FALSE(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
}

TEST_F(CriuBridgeKernelTest, RefusedAtPostDumpTheProcessRunsAgain) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin_dump();
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  EXPECT_EQ(sleeper_.state(), 't');
  bridge.refuse();
  EXPECT_FALSE(final_answer().success());
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_FALSE(bridge.died());
}

TEST_F(CriuBridgeKernelTest, AReleaseThatCameFirstIsStrongerThanARefusal) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin_dump();
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  bridge.release(CriuPoint::kPostDump);
  bridge.refuse();
  EXPECT_TRUE(final_answer().success());
  EXPECT_TRUE(WIFSIGNALED(sleeper_.wait()));
}

TEST_F(CriuBridgeKernelTest, CriuThatDiesWhileItIsHeldIsNoticedAtOnce) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin_dump();
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  ASSERT_EQ(::kill(runc_->criu().pid(), SIGKILL), 0);
  EXPECT_TRUE(await([&] { return scene_.failures() == 1; }));
  EXPECT_TRUE(bridge.died());
  EXPECT_THAT(*bridge.failure(), HasSubstr("criu ended at post-dump"));
  EXPECT_THROW(final_answer(), std::runtime_error);
  EXPECT_TRUE(runs(sleeper_));
  // What comes too late changes nothing.
  bridge.release(CriuPoint::kPostDump);
  EXPECT_FALSE(bridge.await(CriuPoint::kPostResume, in_ms(1000)));
  bridge.await_end(in_ms(1000));
}

TEST_F(CriuBridgeKernelTest, RuncThatDiesWhileCriuIsHeldMakesTheDumpFail) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  TestProcess runc_program([] { ::pause(); });
  const ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, runc_program.pid(), 0)));
  bridge.watch_runc(pidfd.get());
  begin_dump();
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  ASSERT_EQ(::kill(runc_program.pid(), SIGKILL), 0);
  EXPECT_TRUE(await([&] { return scene_.failures() == 1; }));
  EXPECT_THAT(*bridge.failure(), HasSubstr("runc ended at post-dump"));
  EXPECT_FALSE(final_answer().success());
  EXPECT_TRUE(runs(sleeper_));
  EXPECT_FALSE(bridge.died());
}

// Released from post-dump, the copy here is to end, whether or not runC is there to hear of it.
TEST_F(CriuBridgeKernelTest, RuncThatHangsUpAfterThePostDumpIsReleasedChangesNothing) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  runc_.emplace(scene_.socket());
  runc_->say(dump_request(sleeper_.pid()));
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  bridge.release(CriuPoint::kPostDump);
  EXPECT_EQ(runc_->hear().notify().script(), "post-dump");
  runc_->hang_up();
  EXPECT_TRUE(WIFSIGNALED(sleeper_.wait()));
}

TEST_F(CriuBridgeKernelTest, EndingTheBridgeIsARefusal) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin_dump();
  must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
  scene_.stop();
  answer_.wait();  // a refusal or an end of the connection, as it comes
  EXPECT_TRUE(runs(sleeper_));
}

// --- Restore ------------------------------------------------------------------------------------------------------

class CriuRestoreTest : public CriuBridgeKernelTest {
 protected:
  CriuRestoreTest() : pid_(sleeper_.pid()) {
    CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
    begin_dump();
    must(bridge.await(CriuPoint::kPostDump, in_ms(20000)));
    bridge.release(CriuPoint::kPostDump);
    if (!final_answer().success()) throw std::runtime_error(scene_.log("dump.log"));
    sleeper_.wait();
    scene_.stop();
  }
  ~CriuRestoreTest() override {
    if (exists()) ::kill(pid_, SIGKILL);
    runc_.reset();
  }
  void begin_restore() {
    runc_.emplace(scene_.socket());
    runc_->say(restore_request());
    answer_ = std::async(std::launch::async, [this] { return runc_->agree_to_the_end(); });
  }
  bool exists() const { return read_file("/proc/" + std::to_string(pid_) + "/comm").value_or("") == "sleep\n"; }

  const pid_t pid_;
};

TEST_F(CriuRestoreTest, PassesItsPointsInTheirOrderAndRuns) {
  const std::vector<CriuPoint> points{CriuPoint::kRequest, CriuPoint::kPostRestore, CriuPoint::kPreResume,
                                      CriuPoint::kPostResume};
  CriuBridge& bridge = scene_.start(points);
  begin_restore();
  for (size_t i = 0; i < points.size(); ++i) {
    const pid_t pid = must(bridge.await(points[i], in_ms(20000)));
    for (size_t later = i + 1; later < points.size(); ++later)
      EXPECT_FALSE(bridge.reached_at(points[later])) << criu_point_name(points[later]);
    if (points[i] == CriuPoint::kPostRestore) {
      EXPECT_EQ(pid, pid_);
      EXPECT_THAT(runc_->scripts(), testing::Contains("post-restore"));  // runC has recorded it by then
    }
    bridge.release(points[i]);
  }
  EXPECT_TRUE(final_answer().success());
  EXPECT_TRUE(exists());
  EXPECT_TRUE(await([&] { return status_line(pid_, "State").starts_with("S"); }));
}

TEST_F(CriuRestoreTest, RefusedAtPostRestoreNothingIsLeftOfIt) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostRestore});
  begin_restore();
  must(bridge.await(CriuPoint::kPostRestore, in_ms(20000)));
  EXPECT_TRUE(exists());
  bridge.refuse();
  EXPECT_FALSE(final_answer().success());
  EXPECT_TRUE(await([&] { return !exists(); }));
}

TEST_F(CriuRestoreTest, ABridgeThatEndsAtPostRestoreLeavesNothingOfIt) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostRestore});
  begin_restore();
  must(bridge.await(CriuPoint::kPostRestore, in_ms(20000)));
  scene_.stop();
  EXPECT_TRUE(await([&] { return !exists(); }));
  answer_.wait();
}

TEST_F(CriuRestoreTest, WhatCriuSaysOfAFailureIsTheReason) {
  must(write_file(scene_.images() / "inventory.img", "nothing of the kind"));
  CriuBridge& bridge = scene_.start({CriuPoint::kPostRestore});
  begin_restore();
  auto reached = bridge.await(CriuPoint::kPostRestore, in_ms(20000));
  ASSERT_FALSE(reached);
  EXPECT_THAT(reached.error().text(), HasSubstr("before post-restore"));
  EXPECT_FALSE(final_answer().success());
  EXPECT_TRUE(await([&] { return scene_.failures() == 1; }));
  EXPECT_FALSE(bridge.died());
}

}  // namespace
}  // namespace godwit
