#include "network/frame_filter.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace godwit::network {
namespace {

using namespace std::string_literals;

const MacAddress kMac = {2, 0, 0, 0, 0, 7};
const std::string kOther = "\x02\0\0\0\0\x09"s;
const std::string kAddress = "\x0a\x62\x02\x07"s;
const std::string kAddress6 = "\xfd\x98\0\0\0\0\0\0\0\0\0\0\0\0\0\x07"s;

FrameFilter filter() {
  peer::NetworkState state;
  for (const std::string& address : {kAddress, kAddress6}) state.add_addresses()->set_address(address);
  HostPort port;
  port.mac = kMac;
  return {{port}, state};
}

std::string arp(const std::string& to, char operation, const std::string& target) {
  return to + kOther + "\x08\x06\x00\x01\x08\x00\x06\x04\x00"s + operation + kOther + "\x0a\x62\0\x02"s +
         std::string(6, '\0') + target;
}

std::string solicitation(char type, const std::string& target) {
  return "\x33\x33\xff\0\0\x07"s + kOther + "\x86\xdd\x60\0\0\0\0\x18\x3a\xff"s + std::string(32, '\1') + type +
         "\0\0\0\0\0\0\0"s + target;
}

TEST(FrameFilter, FramesToTheMacAreWanted) {
  std::string frame = std::string(as_bytes(kMac)) + kOther + "\x08\x00payload"s;
  EXPECT_TRUE(filter().wants(frame));
  EXPECT_FALSE(filter().wants(kOther + kOther + "\x08\x00payload"s));
}

TEST(FrameFilter, QuestionsForTheAddressesAreWanted) {
  std::string broadcast(6, '\xff');
  EXPECT_TRUE(filter().wants(arp(broadcast, 1, kAddress)));
  EXPECT_FALSE(filter().wants(arp(broadcast, 1, "\x0a\x62\x02\x08"s)));
  EXPECT_FALSE(filter().wants(arp(broadcast, 2, kAddress)));
  EXPECT_TRUE(filter().wants(solicitation('\x87', kAddress6)));
  EXPECT_FALSE(filter().wants(solicitation('\x88', kAddress6)));
  EXPECT_FALSE(filter().wants(solicitation('\x87', std::string(16, '\1'))));
}

std::string tcp_segment(const std::string& ethertypes, const std::string& ip, char flags) {
  return std::string(12, '\2') + ethertypes + ip + std::string(13, '\1') + flags + std::string(6, '\0');
}
const std::string kIpv4Tcp = "\x45\0\0\x28\0\0\x40\0\x40\x06"s + std::string(10, '\1');
const std::string kIpv6Tcp = "\x60\0\0\0\0\x14\x06\x40"s + std::string(32, '\1');

TEST(FrameFilter, FirstSegmentsOpenConnections) {
  constexpr char kSyn = 2, kSynEce = 0xc2 - 0x100, kSynAck = 0x12, kAck = 0x10, kRst = 4;
  for (const auto& [ethertypes, ip] : {std::pair("\x08\x00"s, kIpv4Tcp), std::pair("\x86\xdd"s, kIpv6Tcp),
                                       std::pair("\x81\x00\x00\x07\x08\x00"s, kIpv4Tcp)}) {
    for (char flags : {kSyn, kSynEce}) EXPECT_TRUE(opens_tcp_connection(tcp_segment(ethertypes, ip, flags)));
    for (char flags : {kSynAck, kAck, kRst}) EXPECT_FALSE(opens_tcp_connection(tcp_segment(ethertypes, ip, flags)));
    const std::string whole = tcp_segment(ethertypes, ip, kSyn);
    for (size_t size = 0; size < whole.size() - 6; ++size) EXPECT_FALSE(opens_tcp_connection(whole.substr(0, size)));
  }
  std::string fragment = kIpv4Tcp, udp = kIpv4Tcp, long_header = kIpv4Tcp;
  fragment[7] = 1;
  udp[9] = 17;
  long_header[0] = 0x4f;
  for (const std::string& other : {fragment, udp, long_header})
    EXPECT_FALSE(opens_tcp_connection(tcp_segment("\x08\x00"s, other, kSyn)));
}

TEST(FrameFilter, TruncatedFramesAreNotWanted) {
  for (const std::string& whole : {arp(std::string(6, '\xff'), 1, kAddress), solicitation('\x87', kAddress6)})
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(filter().wants(whole.substr(0, size))) << size;
}

}  // namespace
}  // namespace godwit::network
