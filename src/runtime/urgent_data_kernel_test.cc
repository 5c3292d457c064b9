#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "base/file.h"
#include "base/scoped_fd.h"
#include "base/test_support.h"
#include "criu_tcp.pb.h"
#include "kernel/netns.h"
#include "runtime/connection_images.h"
#include "runtime/helpers/connection_pack.h"
#include "runtime/int_option.h"
#include "runtime/tcp_list.h"
#include "runtime/urgent_data.h"

namespace godwit {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;

void set(const ScopedFd& socket, int level, int name, int value) {
  ASSERT_EQ(::setsockopt(socket.get(), level, name, &value, sizeof value), 0) << level << " " << name;
}

class UrgentData : public testing::Test {
 protected:
  UrgentData() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* where = reinterpret_cast<sockaddr*>(&address);
    const ScopedFd listener(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::bind(listener.get(), where, length), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), where, &length), 0);
    client = ScopedFd(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(client.get(), where, length), 0);
    server = ScopedFd(::accept(listener.get(), nullptr, nullptr));
  }

  void arrive(const std::string& before, const std::string& after) {
    send(before, 0);
    send("!", MSG_OOB);
    pollfd mark{.fd = server.get(), .events = POLLPRI, .revents = 0};
    ASSERT_EQ(::poll(&mark, 1, 5000), 1);
    send(after, 0);
    const size_t all = before.size() + 1 + after.size();
    for (int look = 0; look < 5000 && received() < all; ++look) ::usleep(1000);
    ASSERT_EQ(received(), all);
  }
  void send(const std::string& data, int flags) {
    ASSERT_EQ(::send(client.get(), data.data(), data.size(), flags), static_cast<ssize_t>(data.size()));
  }
  void take_mark() {
    char byte = 0;
    ASSERT_EQ(::recv(server.get(), &byte, 1, MSG_OOB), 1);
  }
  // As the program reads it.
  std::string read() {
    char buffer[64];
    const ssize_t got = ::recv(server.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    return {buffer, static_cast<size_t>(std::max<ssize_t>(got, 0))};
  }

  uint32_t received() const {
    struct stat file{};
    EXPECT_EQ(::fstat(server.get(), &file), 0);
    const auto list = must(list_tcp_sockets(must(open_current_netns()).get()));
    const auto found = list.find(file.st_ino);
    return found == list.end() ? 0 : found->second.received;
  }
  bool has_mark() const { return has_urgent_mark(server.get(), received()); }
  Result<peer::UrgentData> peek() const {
    peer::UrgentData urgent;
    urgent.set_received(received());
    set(server, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
    auto peeked = peek_urgent_data(server.get(), urgent);
    set(server, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    if (!peeked) return std::unexpected(peeked.error());
    if (!*peeked) urgent.Clear();
    return urgent;
  }
  bool can_peek_anywhere() const { return int_option(server.get(), SOL_SOCKET, SO_PEEK_OFF).has_value(); }

  ScopedFd client, server;
};

TEST_F(UrgentData, OrdinaryDataHasNoMark) {
  EXPECT_FALSE(has_mark());
  send("abc", 0);
  for (int look = 0; look < 5000 && received() < 3; ++look) ::usleep(1000);
  EXPECT_FALSE(has_mark());
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  pollfd end{.fd = server.get(), .events = POLLRDHUP, .revents = 0};
  ASSERT_EQ(::poll(&end, 1, 5000), 1);
  EXPECT_EQ(received(), 3U) << "the peer's FIN is no data";
  EXPECT_FALSE(has_mark());
}

TEST_F(UrgentData, IsReadAndStaysWhereItWas) {
  arrive("", "def");
  ASSERT_TRUE(has_mark());
  EXPECT_EQ(urgent_obstacle(server.get()), "");
  const auto urgent = must(peek());
  EXPECT_EQ(urgent.data(), "!def");
  EXPECT_FALSE(urgent.taken());
  EXPECT_FALSE(urgent.in_image());
  must(check_urgent_data(urgent));
  take_mark();
  EXPECT_EQ(read(), "def");
  EXPECT_FALSE(has_mark());
}

TEST_F(UrgentData, BehindOtherDataEveryKernelShowsTheByte) {
  arrive("abc", "");
  ASSERT_TRUE(has_mark());
  EXPECT_EQ(must(peek()).data(), "!");
  EXPECT_EQ(read(), "abc");
  take_mark();
}

TEST_F(UrgentData, BehindOtherDataMoreOfItIsSeenByNewKernels) {
  arrive("abc", "def");
  ASSERT_TRUE(has_mark());
  if (!can_peek_anywhere()) {
    EXPECT_THAT(urgent_obstacle(server.get()), HasSubstr("older than 6.9"));
    EXPECT_FALSE(peek());
    return;
  }
  EXPECT_EQ(must(peek()).data(), "!def");
  EXPECT_EQ(int_option(server.get(), SOL_SOCKET, SO_PEEK_OFF), -1);
  EXPECT_EQ(read(), "abc");
  take_mark();
  EXPECT_EQ(read(), "def");
}

TEST_F(UrgentData, WhatTheProgramHasTakenIsAMarkStill) {
  arrive("", "def");
  take_mark();
  ASSERT_TRUE(has_mark());
  const auto urgent = must(peek());
  EXPECT_TRUE(urgent.taken());
  EXPECT_EQ(urgent.data(), "\0def"s);
  EXPECT_EQ(read(), "def");
}

TEST_F(UrgentData, InlineIsOrdinaryDataToCriu) {
  set(server, SOL_SOCKET, SO_OOBINLINE, 1);
  arrive("", "def");
  ASSERT_TRUE(has_mark());
  const auto urgent = must(peek());
  EXPECT_EQ(urgent.data(), "!def");
  EXPECT_TRUE(urgent.in_image());
  EXPECT_EQ(read(), "!def");
  EXPECT_FALSE(has_mark());
}

TEST_F(UrgentData, OfWhatIsTakenAndCannotBeCarriedNothingIsMissed) {
  arrive("abc", "");
  take_mark();
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  pollfd end{.fd = server.get(), .events = POLLRDHUP, .revents = 0};
  ASSERT_EQ(::poll(&end, 1, 5000), 1);
  ASSERT_TRUE(has_mark());
  EXPECT_EQ(must(peek()).data(), "");
}

TEST_F(UrgentData, WhatCannotBeCarriedIsNamed) {
  arrive("abc", "");
  set(server, SOL_SOCKET, SO_OOBINLINE, 1);
  EXPECT_THAT(urgent_obstacle(server.get()), HasSubstr("SO_OOBINLINE"));
  set(server, SOL_SOCKET, SO_OOBINLINE, 0);
  ASSERT_EQ(::setsockopt(server.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
  EXPECT_THAT(urgent_obstacle(server.get()), HasSubstr("SO_BINDTODEVICE"));
  EXPECT_FALSE(peek());
}

// As CRIU writes it: received and sent data follow.
std::string image_of(const criu::TcpConnection& connection, const std::string& queues) {
  const std::string message = connection.SerializePartialAsString();
  const auto length = static_cast<uint32_t>(message.size());
  return "MAGICSUM" + std::string(reinterpret_cast<const char*>(&length), sizeof length) + message + queues;
}

class UrgentImages : public testing::Test {
 protected:
  UrgentImages() {
    connection.set_received_bytes(3);
    connection.set_received_next(2);  // around the end of the numbers
    connection.set_window_begin(1);
    connection.set_receive_window(100);
    connection.GetReflection()->MutableUnknownFields(&connection)->AddVarint(3, 4);
  }
  void add(uint64_t inode, const std::string& data, bool in_image) {
    peer::UrgentData& urgent = *states.add_sockets()->mutable_urgent();
    urgent.set_inode(inode);
    urgent.set_data(data);
    urgent.set_in_image(in_image);
  }
  std::filesystem::path image(uint32_t number) const { return directory.path() / connection_image_name(number); }
  std::string content(uint32_t number) const { return must(read_file(image(number), 1 << 20)); }

  ScopedDirectory directory;
  criu::TcpConnection connection;
  peer::SocketStates states;
};

TEST_F(UrgentImages, EndAtTheMark) {
  must(write_file(image(0x2a), image_of(connection, "abcsent")));
  must(write_file(image(0x2b), image_of(connection, "ab!sent")));
  add((uint64_t{1} << 32) + 0x2a, "!def", false);  // CRIU's number has 32 bits
  add(0x2b, "!", true);
  must(end_images_at_marks(directory.path(), states));

  criu::TcpConnection edited = connection;
  edited.set_received_next(0xfffffffe);
  edited.set_window_begin(0xfffffffe);
  edited.set_receive_window(103);
  EXPECT_EQ(content(0x2a), image_of(edited, "abcsent"));
  edited.set_received_next(1);
  edited.set_window_begin(1);
  edited.set_receive_window(100);
  edited.set_received_bytes(2);
  EXPECT_EQ(content(0x2b), image_of(edited, "absent"));
}

TEST_F(UrgentImages, ComeOutOfThePack) {
  std::string records;
  for (const uint32_t number : {7U, 8U, 9U}) {
    const std::string packed = image_of(connection, "abcsent");
    for (const uint32_t part : {number, static_cast<uint32_t>(packed.size())})
      records.append(reinterpret_cast<const char*>(&part), sizeof part);
    records += packed;
  }
  const uint64_t used = records.size();
  const auto pack = directory.path() / godwit_pack::kPackName;
  must(write_file(pack, godwit_pack::kPackMagic + std::string(reinterpret_cast<const char*>(&used), sizeof used) +
                            records + "what is not finished"));
  add(8, "!", false);
  must(end_images_at_marks(directory.path(), states));
  EXPECT_TRUE(std::filesystem::exists(image(8)));
  EXPECT_FALSE(std::filesystem::exists(image(7)));
  must(unpack_connections(directory.path()));
  EXPECT_FALSE(std::filesystem::exists(pack));
  EXPECT_EQ(content(7), image_of(connection, "abcsent"));
  EXPECT_EQ(content(9), image_of(connection, "abcsent"));
  connection.set_received_next(1);
  EXPECT_EQ(content(8), image_of(connection, "abcsent"));
}

TEST_F(UrgentImages, MayBeAnything) {
  add(1, "!", false);
  EXPECT_FALSE(end_images_at_marks(directory.path(), states)) << "there is none";
  const std::string whole = image_of(connection, "");
  for (size_t size = 0; size < whole.size(); ++size) {
    must(write_file(image(1), whole.substr(0, size)));
    EXPECT_FALSE(end_images_at_marks(directory.path(), states)) << size;
  }
  states.Clear();
  add(1, "!", true);
  must(write_file(image(1), image_of(connection, "ab")));
  EXPECT_FALSE(end_images_at_marks(directory.path(), states)) << "less than was received";
  connection.set_received_bytes(0);
  must(write_file(image(1), image_of(connection, "ab")));
  EXPECT_FALSE(end_images_at_marks(directory.path(), states)) << "the mark is not in it";
}

}  // namespace
}  // namespace godwit
