// The bridge against ends that do not keep to the protocol: the test speaks for both runC and criu.
#include "runtime/criu_bridge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstring>

#include "runtime/test_criu.h"

namespace godwit {
namespace {

using testing::HasSubstr;

ScopedFd connect_to(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  ScopedFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("connect");
  // One packet may be larger than the default, and then than the bridge takes.
  const int bytes = 8 << 20;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  return fd;
}

class CriuBridgeTest : public testing::Test {
 protected:
  // Says what the stub says; afterwards criu_ is criu's end, and runc_ runC's.
  Packet greet(const std::string& greeting = "swrk") {
    auto [ours, theirs] = packet_pair();
    runc_ = std::move(ours);
    const int bytes = 8 << 20;
    ::setsockopt(runc_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    criu_ = connect_to(scene_.socket());
    must(send_packet(criu_.get(), greeting, {theirs.get()}));
    return greeting == "swrk" ? hear_packet(criu_.get()) : Packet{};
  }
  // Up to the moment when criu has the request.
  criu::Request begin(criu::Type type) {
    greet();
    criu::Request request = request_of(type);
    must(send_packet(runc_.get(), request.SerializeAsString()));
    if (!request.ParseFromString(hear_packet(criu_.get()).bytes)) throw std::runtime_error("unreadable");
    return request;
  }
  static std::string notification(const std::string& script, int pid = 0) {
    criu::Response response;
    response.set_type(criu::NOTIFY);
    response.set_success(true);
    response.mutable_notify()->set_script(script);
    if (pid != 0) response.mutable_notify()->set_pid(pid);
    return response.SerializeAsString();
  }
  static std::string final_word(criu::Type type, bool success, const std::string& why = "") {
    criu::Response response;
    response.set_type(type);
    response.set_success(success);
    if (!why.empty()) response.set_error_message(why);
    return response.SerializeAsString();
  }
  static bool agrees(const Packet& answer) {
    criu::Request request;
    return request.ParseFromString(answer.bytes) && request.type() == criu::NOTIFY && request.notify_success();
  }
  static std::string agreement() {
    criu::Request request = request_of(criu::NOTIFY);
    request.set_notify_success(true);
    return request.SerializeAsString();
  }

  BridgeScene scene_;
  ScopedFd runc_;
  ScopedFd criu_;
};

TEST_F(CriuBridgeTest, OrdersNameTheRealCriuItsLensAndTheNumbersOfItsDescriptors) {
  const ScopedFd file = must(open_file("/dev/null", O_RDONLY));
  auto bridge = must(CriuBridge::start({.socket = scene_.socket(),
                                        .criu = "/the/real/criu",
                                        .images_directory = scene_.images(),
                                        .work_directory = scene_.images(),
                                        .descriptors = {{77, file.get()}},
                                        .edit_options = {},
                                        .hold_at = {},
                                        .on_failure = {},
                                        .lens = Lens{"/lens.so", "/lens"}}));
  const Packet orders = greet();
  const std::string text("/the/real/criu\0LD_PRELOAD=/lens.so\0GODWIT_LENS=/lens\0\0", 54);
  ASSERT_EQ(orders.bytes.size(), text.size() + sizeof(int));
  EXPECT_EQ(orders.bytes.substr(0, text.size()), text);
  int number = 0;
  std::memcpy(&number, orders.bytes.data() + text.size(), sizeof number);
  EXPECT_EQ(number, 77);
  ASSERT_EQ(orders.fds.size(), 1u);
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(orders.fds[0].get())), "/dev/null");
}

TEST_F(CriuBridgeTest, TheRequestIsEditedAndWhatIsUnknownInItStays) {
  scene_.edit_options = [](criu::Options& options) { options.set_tcp_established(true); };
  scene_.start({});
  greet();
  must(send_packet(runc_.get(), dump_request(4321).SerializeAsString()));
  criu::Request request;
  ASSERT_TRUE(request.ParseFromString(hear_packet(criu_.get()).bytes));
  EXPECT_TRUE(request.options().tcp_established());
  EXPECT_TRUE(request.options().notify_scripts());
  EXPECT_GE(request.options().images_dir_fd(), 0);
  const auto& unknown = request.options().GetReflection()->GetUnknownFields(request.options());
  ASSERT_EQ(unknown.field_count(), 1);
  EXPECT_EQ(unknown.field(0).varint(), 4321u);
}

TEST_F(CriuBridgeTest, StrangersAreCutOffAndDoNotHarmTheNext) {
  scene_.start({});
  greet("something else");
  EXPECT_TRUE(is_closed(criu_.get()));
  criu_ = connect_to(scene_.socket());
  must(send_packet(criu_.get(), "swrk"));  // without a descriptor
  EXPECT_TRUE(is_closed(criu_.get()));
  criu_ = connect_to(scene_.socket());
  must(send_packet(criu_.get(), "swrk", {criu_.get(), criu_.get()}));
  EXPECT_TRUE(is_closed(criu_.get()));
  criu_ = connect_to(scene_.socket());
  must(send_packet(criu_.get(), std::string(kPacketBytesMax + 1, 'x')));
  EXPECT_TRUE(is_closed(criu_.get()));
  connect_to(scene_.socket());  // and hangs up
  EXPECT_FALSE(greet().bytes.empty());
  EXPECT_EQ(scene_.failures(), 0);
}

TEST_F(CriuBridgeTest, AStrangerThatIsSilentDoesNotKeepItFromEnding) {
  scene_.start({});
  criu_ = connect_to(scene_.socket());
  scene_.stop();
  EXPECT_TRUE(is_closed(criu_.get()));
}

TEST_F(CriuBridgeTest, GarbageFromRuncEndsItsConnectionOnly) {
  scene_.start({});
  greet();
  must(send_packet(runc_.get(), std::string("\xff\xff\xff", 3)));
  EXPECT_TRUE(is_closed(criu_.get()));
  EXPECT_TRUE(is_closed(runc_.get()));
  greet();
  must(send_packet(runc_.get(), std::string(kPacketBytesMax + 1, 'x')));
  EXPECT_TRUE(is_closed(runc_.get()));
  EXPECT_FALSE(greet().bytes.empty());
}

// Whoever waits would otherwise wait to the end of his patience.
TEST_F(CriuBridgeTest, GarbageFromCriuAtWorkIsToldToWhoeverWaits) {
  for (const std::string& garbage : {std::string("\xff\xff", 2), std::string(kPacketBytesMax + 1, 'x')}) {
    BridgeScene scene;
    CriuBridge& bridge = scene.start({CriuPoint::kPostDump});
    auto [ours, theirs] = packet_pair();
    const ScopedFd criu = connect_to(scene.socket());
    must(send_packet(criu.get(), "swrk", {theirs.get()}));
    hear_packet(criu.get());
    must(send_packet(ours.get(), request_of(criu::DUMP).SerializeAsString()));
    hear_packet(criu.get());
    must(send_packet(criu.get(), garbage));
    EXPECT_FALSE(bridge.await(CriuPoint::kPostDump, Deadline::max()));
    EXPECT_TRUE(is_closed(criu.get()));
    EXPECT_TRUE(await([&] { return scene.failures() == 1; }));
  }
}

TEST_F(CriuBridgeTest, GarbageFromRuncAtWorkIsToldToWhoeverWaits) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin(criu::DUMP);
  must(send_packet(runc_.get(), std::string("\xff\xff", 2)));
  auto reached = bridge.await(CriuPoint::kPostDump, Deadline::max());
  ASSERT_FALSE(reached);
  EXPECT_THAT(reached.error().text(), HasSubstr("unreadable"));
  EXPECT_TRUE(await([&] { return scene_.failures() == 1; }));
}

TEST_F(CriuBridgeTest, CriuThatHangsUpAtWorkHasDied) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin(criu::DUMP);
  criu_.reset();
  EXPECT_FALSE(bridge.await(CriuPoint::kPostDump, Deadline::max()));
  EXPECT_TRUE(bridge.died());
  EXPECT_TRUE(is_closed(runc_.get()));
}

TEST_F(CriuBridgeTest, CriusOwnWordsAreTheReason) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostDump});
  begin(criu::DUMP);
  must(send_packet(criu_.get(), final_word(criu::DUMP, false, "no such luck")));
  EXPECT_THAT(bridge.await(CriuPoint::kPostDump, Deadline::max()).error().text(), HasSubstr("no such luck"));
  EXPECT_FALSE(bridge.died());
  EXPECT_EQ(hear_packet(runc_.get()).bytes, final_word(criu::DUMP, false, "no such luck"));
}

TEST_F(CriuBridgeTest, NotificationsItDoesNotKnowGoToRuncWithTheirDescriptors) {
  scene_.start({CriuPoint::kPostRestore});
  begin(criu::RESTORE);
  const ScopedFd file = must(open_file("/dev/null", O_RDONLY));
  must(send_packet(criu_.get(), notification("orphan-pts-master"), {file.get()}));
  const Packet heard = hear_packet(runc_.get());
  EXPECT_EQ(heard.bytes, notification("orphan-pts-master"));
  EXPECT_EQ(heard.fds.size(), 1u);
  must(send_packet(runc_.get(), agreement()));
  EXPECT_TRUE(agrees(hear_packet(criu_.get())));
}

TEST_F(CriuBridgeTest, NotificationsThatRuncIgnoresAreAnsweredWithoutIt) {
  scene_.start({});
  begin(criu::RESTORE);
  for (const char* script : {"pre-restore", "post-setup-namespaces", "network-unlock", "pre-resume", "post-resume"}) {
    must(send_packet(criu_.get(), notification(script)));
    EXPECT_TRUE(agrees(hear_packet(criu_.get()))) << script;
  }
  char byte;
  EXPECT_LT(::recv(runc_.get(), &byte, 1, MSG_DONTWAIT), 0);
}

TEST_F(CriuBridgeTest, RuncThatRefusesIsHeard) {
  scene_.start({});
  begin(criu::RESTORE);
  must(send_packet(criu_.get(), notification("setup-namespaces", 5)));
  hear_packet(runc_.get());
  criu::Request no = request_of(criu::NOTIFY);
  no.set_notify_success(false);
  must(send_packet(runc_.get(), no.SerializeAsString()));
  EXPECT_FALSE(agrees(hear_packet(criu_.get())));
}

TEST_F(CriuBridgeTest, RuncThatNeverAnswersDoesNotKeepItFromBeingRefused) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPostRestore});
  begin(criu::RESTORE);
  must(send_packet(criu_.get(), notification("post-restore", 5)));
  hear_packet(runc_.get());
  bridge.refuse();
  EXPECT_FALSE(agrees(hear_packet(criu_.get())));
}

TEST_F(CriuBridgeTest, RuncThatNeverAnswersDoesNotKeepItFromEnding) {
  scene_.start({});
  begin(criu::RESTORE);
  must(send_packet(criu_.get(), notification("setup-namespaces", 5)));
  hear_packet(runc_.get());
  scene_.stop();
  EXPECT_FALSE(agrees(hear_packet(criu_.get())));
}

// A point that is reported again was released once and for all.
TEST_F(CriuBridgeTest, APointPassedTwiceIsHeldOnce) {
  CriuBridge& bridge = scene_.start({CriuPoint::kPreResume});
  begin(criu::RESTORE);
  must(send_packet(criu_.get(), notification("pre-resume", 5)));
  EXPECT_EQ(must(bridge.await(CriuPoint::kPreResume, in_ms(20000))), 5);
  bridge.release(CriuPoint::kPreResume);
  EXPECT_TRUE(agrees(hear_packet(criu_.get())));
  must(send_packet(criu_.get(), notification("pre-resume", 5)));
  EXPECT_TRUE(agrees(hear_packet(criu_.get())));
}

TEST_F(CriuBridgeTest, WithoutAnyoneAWaitEndsAtItsDeadline) {
  CriuBridge& bridge = scene_.start({});
  auto reached = bridge.await(CriuPoint::kPreDump, in_ms(20));
  ASSERT_FALSE(reached);
  EXPECT_THAT(reached.error().text(), HasSubstr("did not get to pre-dump in time"));
}

TEST_F(CriuBridgeTest, RuncThatEndsWithoutAskingEndsTheWait) {
  CriuBridge& bridge = scene_.start({});
  TestProcess runc([] {});
  const ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, runc.pid(), 0)));
  bridge.watch_runc(pidfd.get());
  EXPECT_THAT(bridge.await(CriuPoint::kPreDump, Deadline::max()).error().text(), HasSubstr("runc ended"));
}

TEST_F(CriuBridgeTest, ASocketThatExistsIsAnError) {
  must(write_file(scene_.socket(), ""));
  EXPECT_FALSE(CriuBridge::start({.socket = scene_.socket(),
                                  .criu = "/criu",
                                  .images_directory = scene_.images(),
                                  .work_directory = scene_.images(),
                                  .descriptors = {},
                                  .edit_options = {},
                                  .hold_at = {},
                                  .on_failure = {}}));
}

}  // namespace
}  // namespace godwit
