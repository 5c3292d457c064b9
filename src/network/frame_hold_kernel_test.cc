#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "network/announce.h"
#include "network/capture.h"
#include "network/frame_hold.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

constexpr char kId[] = "00000000000000ff";
constexpr char kContainer[] = "10.98.2.7";
constexpr uint16_t kPort = 7007;

sockaddr_in socket_address(const char* address) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(kPort);
  inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

ScopedFd socket_in(const ScopedFd& netns, int type) {
  auto fd = in_netns(netns.get(), [&]() -> Result<ScopedFd> { return ScopedFd(socket(AF_INET, type, 0)); });
  return fd ? std::move(*fd) : ScopedFd();
}

bool wait_readable(int fd, int ms) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, ms) == 1;
}

class Hold : public testing::Test {
 protected:
  template <typename F>
  auto on_a(F&& f) {
    auto result = in_netns(lan.a.get(), std::forward<F>(f));
    EXPECT_TRUE(result) << result.error().text();
    return std::move(*result);
  }
  void SetUp() override {
    lan.ping(kContainer);  // neighbours and bridges know each other
    auto captured = capture_namespace(lan.container.get());
    ASSERT_TRUE(captured) << captured.error().text();
    state = *captured;
    ports = on_a([&] { return find_host_ports(lan.container.get()); });
    auto prepared = in_netns(lan.a.get(), [&] { return PortDetachment::prepare(ports); });
    ASSERT_TRUE(prepared);
    detachment.emplace(std::move(*prepared));
  }
  void TearDown() override {
    detachment.reset();
    EXPECT_EQ(run_in(lan.a, "ip -o link").find("gh00000"), std::string::npos);
    EXPECT_EQ(run_in(lan.a, "bridge fdb show").find("sticky"), std::string::npos);
  }
  FrameHold prepare(HoldBounds bounds = {}) {
    return on_a([&] { return FrameHold::prepare(ports, state, kId, bounds); });
  }
  RecreatedNamespace recreate_on_b() {
    auto made = in_netns(
        lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), test_netns_path("hold"), kId); });
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }

  ScopedFd bound_udp(const ScopedFd& netns) {
    ScopedFd fd = socket_in(netns, SOCK_DGRAM);
    sockaddr_in any = socket_address("0.0.0.0");
    int buffer = 8 << 20;
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
    return fd;
  }
  void send_numbers(int socket, uint32_t from, uint32_t to) {
    sockaddr_in container = socket_address(kContainer);
    for (uint32_t i = from; i < to; ++i)
      ASSERT_EQ(sendto(socket, &i, sizeof(i), 0, reinterpret_cast<sockaddr*>(&container), sizeof(container)),
                static_cast<ssize_t>(sizeof(i)));
  }
  std::vector<uint32_t> received_numbers(int socket) {
    std::vector<uint32_t> numbers;
    for (uint32_t number; recv(socket, &number, sizeof(number), MSG_DONTWAIT) == sizeof(number);)
      numbers.push_back(number);
    return numbers;
  }
  // Sends to the client without a pause, until the thread is asked to stop.
  std::jthread busy_container() {
    return std::jthread([socket = socket_in(lan.container, SOCK_DGRAM)](const std::stop_token& stop) {
      const sockaddr_in to = socket_address("10.98.0.2");
      while (!stop.stop_requested())
        (void)sendto(socket.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    });
  }
  // Until COUNT frames were held.
  void await_held(FrameHold& hold, uint64_t count) {
    Deadline deadline = Clock::now() + std::chrono::seconds(10);
    while (hold.count().frames_held < count && Clock::now() < deadline) std::this_thread::yield();
    EXPECT_GE(hold.count().frames_held, count);
  }

  TestLan lan;
  peer::NetworkState state;
  std::vector<HostPort> ports;
  std::optional<PortDetachment> detachment;
};

std::vector<uint32_t> numbers_up_to(uint32_t count) {
  std::vector<uint32_t> numbers(count);
  for (uint32_t i = 0; i < count; ++i) numbers[i] = i;
  return numbers;
}

TEST_F(Hold, PreparedItChangesNothing) {
  FrameHold hold = prepare();
  std::string before = run_in(lan.a, "bridge fdb show br br0 | grep 02:00:0a");
  lan.ping(kContainer);
  EXPECT_EQ(run_in(lan.a, "bridge fdb show br br0 | grep 02:00:0a"), before);
  EXPECT_EQ(hold.count().frames_held, 0U);
}

TEST_F(Hold, NoDatagramIsLostOrReorderedOnTheWayToTheTarget) {
  ScopedFd source_socket = bound_udp(lan.container), client = socket_in(lan.client, SOCK_DGRAM);
  RecreatedNamespace target = recreate_on_b();
  ScopedFd target_netns(dup(target.netns_fd()));
  ScopedFd target_socket = bound_udp(target_netns);
  FrameHold hold = prepare();
  send_numbers(client.get(), 0, 100);
  Stopwatch watch;
  ASSERT_TRUE(hold.begin(*detachment));
  std::printf("begin: %.2f ms\n", watch.ms());
  send_numbers(client.get(), 100, 3000);
  await_held(hold, 2900);
  EXPECT_EQ(received_numbers(source_socket.get()), numbers_up_to(100));

  ASSERT_TRUE(target.attach());
  auto frames = hold.take();
  Stopwatch delivering;
  auto count = in_netns(lan.b.get(), [&] { return deliver_frames(target.host_ends(), frames, kId); });
  ASSERT_TRUE(count) << count.error().text();
  std::printf("deliver %zu frames: %.2f ms\n", frames.size(), delivering.ms());
  EXPECT_EQ(count->refused, 0U);
  ASSERT_TRUE(announce(target.netns_fd(), state));
  send_numbers(client.get(), 3000, 3100);
  auto numbers = received_numbers(target_socket.get());
  ASSERT_EQ(numbers.size(), 3000U);
  EXPECT_EQ(numbers.front(), 100U);
  EXPECT_EQ(numbers.back(), 3099U);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  EXPECT_EQ(received_numbers(source_socket.get()).size(), 0U);
  detachment->commit();
}

// A client that never stops sending while the switch is made: nothing falls between port and tap.
TEST_F(Hold, NothingFallsBetweenPortAndTap) {
  ScopedFd source_socket = bound_udp(lan.container), client = socket_in(lan.client, SOCK_DGRAM);
  FrameHold hold = prepare();
  constexpr uint32_t kCount = 20'000;
  std::atomic<bool> half = false;
  std::thread sender([&] {
    send_numbers(client.get(), 0, kCount / 2);
    half = true;
    send_numbers(client.get(), kCount / 2, kCount);
  });
  while (!half) std::this_thread::yield();
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_TRUE(detachment->detach());
  sender.join();
  auto numbers = received_numbers(source_socket.get());
  await_held(hold, kCount - numbers.size());
  EXPECT_EQ(numbers, numbers_up_to(static_cast<uint32_t>(numbers.size())));
  EXPECT_EQ(hold.count().frames_held, kCount - numbers.size());
  EXPECT_GT(hold.count().frames_held, 0U);

  // Rolled back, the rest arrives where it would have gone.
  auto given_back = hold.give_back(*detachment);
  ASSERT_TRUE(given_back) << given_back.error().text();
  for (uint32_t number : received_numbers(source_socket.get())) numbers.push_back(number);
  EXPECT_EQ(numbers, numbers_up_to(kCount));
  send_numbers(client.get(), 7, 8);
  ASSERT_TRUE(wait_readable(source_socket.get(), 1000));
  EXPECT_EQ(received_numbers(source_socket.get()), std::vector<uint32_t>{7});
}

// A bridge learns from what a port sends, and does so while an entry of ours is made.
TEST_F(Hold, AContainerThatSendsMeanwhileDoesNotGetItsFramesBack) {
  const std::jthread one = busy_container(), another = busy_container();
  int taken = 0;
  for (int round = 0; round < 200; ++round) {
    FrameHold hold = prepare();
    if (round % 2 == 0) {
      ASSERT_TRUE(hold.hold_new_connections());
    }
    ASSERT_TRUE(hold.begin(*detachment));
    const std::string entry = run_in(lan.a, "bridge fdb show br br0 | grep -i ^02:00:0a:62:02:07");
    if (entry.find("dev gh0") == std::string::npos || entry.find("dev c0") != std::string::npos) ++taken;
    ASSERT_TRUE(hold.give_back(*detachment));
  }
  EXPECT_EQ(taken, 0);
}

TEST_F(Hold, TheWaitForSilenceEndsWhenTheContainerHasSentAllOrAtItsLimit) {
  const Stopwatch idle;
  detachment->await_silence(Clock::now() + std::chrono::seconds(60));
  EXPECT_LT(idle.ms(), 30'000);

  const std::jthread sender = busy_container();
  Clock::time_point limit;
  do {  // the sender may have to wait for a processor
    limit = Clock::now() + std::chrono::milliseconds(10);
    detachment->await_silence(limit);
  } while (Clock::now() < limit);
}

TEST_F(Hold, ATcpConnectionSeesNoRetransmissionAfterARollback) {
  ScopedFd listener = socket_in(lan.container, SOCK_STREAM), client = socket_in(lan.client, SOCK_STREAM);
  sockaddr_in any = socket_address("0.0.0.0"), container = socket_address(kContainer);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&container), sizeof(container)), 0);
  ScopedFd server(accept(listener.get(), nullptr, nullptr));
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_EQ(send(client.get(), "request", 7, 0), 7);
  await_held(hold, 1);
  EXPECT_FALSE(wait_readable(server.get(), 0));
  ASSERT_TRUE(hold.give_back(*detachment));
  char buffer[16];
  ASSERT_TRUE(wait_readable(server.get(), 1000));
  EXPECT_EQ(recv(server.get(), buffer, sizeof(buffer), 0), 7);
  EXPECT_NE(run_in(lan.client, "ss -tin dst 10.98.2.7").find("bytes_acked"), std::string::npos);
  EXPECT_EQ(run_in(lan.client, "ss -tin dst 10.98.2.7").find("retrans"), std::string::npos);
}

TEST_F(Hold, QuestionsForTheAddressAreHeldAndOthersAreNot) {
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  run_in(lan.client,
         "ip neigh flush dev eth0; ping -c1 -W0.3 10.98.2.99 >/dev/null || :; "
         "ping -c1 -W0.3 10.98.2.7 >/dev/null || :; ping -c1 -W0.3 fd98::7 >/dev/null || :");
  bool arp = false, solicitation = false;
  for (const std::string& frame : hold.take()) {
    arp |= frame.compare(12, 2, "\x08\x06") == 0;
    solicitation |= frame.compare(12, 2, "\x86\xdd") == 0;
    EXPECT_EQ(frame.find("\x0a\x62\x02\x63"), std::string::npos);  // 10.98.2.99
  }
  EXPECT_TRUE(arp && solicitation);
}

TEST_F(Hold, PastItsBoundTheOldestAreDropped) {
  ScopedFd client = socket_in(lan.client, SOCK_DGRAM);
  FrameHold hold = prepare({.frames_max = 10, .bytes_max = 1 << 20});
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(client.get(), 0, 100);
  await_held(hold, 100);
  auto frames = hold.take();
  ASSERT_EQ(frames.size(), 10U);
  EXPECT_EQ(hold.count().frames_dropped, 90U);
  uint32_t last = 0;
  memcpy(&last, frames.back().data() + 42, sizeof(last));
  EXPECT_EQ(last, 99U);
}

TEST_F(Hold, APortThatVanishedFailsTheDetachmentAndNothingStaysDiverted) {
  FrameHold hold = prepare();
  run_in(lan.a, "ip link del c0");
  EXPECT_TRUE(hold.begin(*detachment));
  EXPECT_FALSE(detachment->detach());
  hold.stop();
  EXPECT_EQ(run_in(lan.a, "bridge fdb show").find("sticky"), std::string::npos);
}

TEST_F(Hold, EndedItDoesNotBeginAgain) {
  FrameHold hold = prepare();
  hold.stop();
  EXPECT_FALSE(hold.begin(*detachment));
  EXPECT_FALSE(detachment->detached());
  auto count = hold.give_back(*detachment);
  ASSERT_TRUE(count);
  EXPECT_EQ(count->delivered, 0U);
}

TEST_F(Hold, ABridgeOfAnotherMtuAndMacKeepsBoth) {
  run_in(lan.a, "ip link set up0 mtu 9000; ip link set c0 mtu 9000");
  run_in(lan.container, "ip link set eth0 mtu 9000");
  std::string show = "ip -o link show br0 | grep -o 'mtu [0-9]*\\|link/ether [^ ]*'";
  std::string before = run_in(lan.a, show);
  ports = on_a([&] { return find_host_ports(lan.container.get()); });
  FrameHold hold = prepare();
  EXPECT_EQ(run_in(lan.a, show), before);
  EXPECT_NE(before.find("mtu 9000"), std::string::npos);
}

TEST_F(Hold, FramesThatAreNoFramesAreRefused) {
  std::vector<std::string> frames = {"", std::string(13, '\2'), std::string(70000, '\2'),
                                     std::string(64, '\2'),  // for a MAC that is no link's
                                     std::string(as_bytes(ports[0].mac)) + std::string(9000, '\0')};
  auto count = in_netns(lan.a.get(), [&] { return deliver_frames(as_host_ends(ports), frames, kId); });
  ASSERT_TRUE(count) << count.error().text();
  EXPECT_EQ(count->delivered, 0U);
  EXPECT_EQ(count->refused, frames.size());
}

}  // namespace
}  // namespace godwit::network
