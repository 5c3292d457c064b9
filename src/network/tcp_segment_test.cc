#include "network/tcp_segment.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "network/ip_checksum.h"

namespace godwit::network {
namespace {

using namespace std::string_literals;

const std::string kV4A = "\x0a\x62\x02\x07"s, kV4B = "\x0a\x62\0\x02"s;
const std::string kV6A = "\xfd\x98\0\0\0\0\0\0\0\0\0\0\0\0\0\x07"s, kV6B = "\xfd\x98\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"s;

TcpSegment segment(bool v4) {
  return {.source = v4 ? kV4A : kV6A,
          .destination = v4 ? kV4B : kV6B,
          .source_port = 443,
          .destination_port = 40001,
          .sequence = 0xfffffffe,
          .acknowledgement = 0x80000001,
          .flags = TH_ACK | TH_FIN,
          .window = 501,
          .timestamps = TcpTimestamps{.value = 0xdeadbeef, .echo = 7},
          .data = "abc"};
}

TEST(TcpSegment, IsReadAsItWasWritten) {
  for (const bool v4 : {true, false}) {
    const auto read = parse_tcp_packet(tcp_packet(segment(v4)));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->source, segment(v4).source);
    EXPECT_EQ(read->destination, segment(v4).destination);
    EXPECT_EQ(read->source_port, 443);
    EXPECT_EQ(read->destination_port, 40001);
    EXPECT_EQ(read->sequence, 0xfffffffe);
    EXPECT_EQ(read->acknowledgement, 0x80000001);
    EXPECT_EQ(read->flags, TH_ACK | TH_FIN);
    EXPECT_EQ(read->window, 501);
    ASSERT_TRUE(read->timestamps);
    EXPECT_EQ(read->timestamps->value, 0xdeadbeef);
    EXPECT_EQ(read->timestamps->echo, 7U);
    EXPECT_EQ(read->data, "abc");
  }
}

TEST(TcpSegment, SumsAreAllOnes) {
  const std::string packet = tcp_packet(segment(true));
  EXPECT_EQ(internet_checksum(packet.substr(0, 20)), 0);
  const std::string message = packet.substr(20);
  const std::string pseudo = kV4A + kV4B + "\0\x06\0"s + static_cast<char>(message.size());
  EXPECT_EQ(internet_checksum(pseudo + message), 0);
}

TEST(TcpSegment, WhateverIsCutOffIsNone) {
  for (const bool v4 : {true, false}) {
    const std::string packet = tcp_packet(segment(v4));
    for (size_t size = 0; size < packet.size(); ++size) EXPECT_FALSE(parse_tcp_packet(packet.substr(0, size)));
  }
}

TEST(TcpSegment, OptionsMayBeNonsense) {
  std::string packet = tcp_packet(segment(true));
  for (const char size : {'\0', '\1', '\xff'}) {
    packet[20 + 20 + 3] = size;  // of the timestamps
    const auto read = parse_tcp_packet(packet);
    ASSERT_TRUE(read);
    EXPECT_FALSE(read->timestamps);
  }
}

TEST(TcpSegment, OtherProtocolsAndFragmentsAreNone) {
  std::string packet = tcp_packet(segment(true));
  packet[9] = IPPROTO_UDP;
  EXPECT_FALSE(parse_tcp_packet(packet));
  packet[9] = IPPROTO_TCP;
  packet[6] = 0x20;  // more of it follows
  EXPECT_FALSE(parse_tcp_packet(packet));
  packet[6] = 0;
  packet[0] = 0x55;
  EXPECT_FALSE(parse_tcp_packet(packet));
}

}  // namespace
}  // namespace godwit::network
