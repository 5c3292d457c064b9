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

TEST(FrameFilter, TruncatedFramesAreNotWanted) {
  for (const std::string& whole : {arp(std::string(6, '\xff'), 1, kAddress), solicitation('\x87', kAddress6)})
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(filter().wants(whole.substr(0, size))) << size;
}

}  // namespace
}  // namespace godwit::network
