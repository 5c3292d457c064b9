#include "network/announcement_frame.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace godwit::network {
namespace {

using namespace std::string_literals;

const MacAddress kMac = {2, 0, 0x0a, 0x62, 2, 7};

TEST(AnnouncementFrame, ArpIsARequestForOnesOwnAddress) {
  std::string frame = announcement_frame(kMac, AF_INET, "\x0a\x62\x02\x07"s);
  ASSERT_EQ(frame.size(), 60U);
  EXPECT_EQ(frame.substr(0, 6), std::string(6, '\xff'));
  EXPECT_EQ(frame.substr(20, 2), "\x00\x01"s);
  EXPECT_EQ(frame.substr(28, 4), frame.substr(38, 4));
}

TEST(AnnouncementFrame, AdvertisementHasTheRightChecksum) {
  std::string address = "\xfd\x98\0\0\0\0\0\0\0\0\0\0\0\0\0\x07"s;
  std::string frame = announcement_frame(kMac, AF_INET6, address);
  ASSERT_EQ(frame.size(), 14U + 40 + 32);
  // The sum over pseudo-header and message, checksum included, is all ones.
  std::string summed = frame.substr(22, 32) + "\0\0\0\x20\0\0\0\x3a"s + frame.substr(54);
  uint32_t sum = 0;
  for (size_t i = 0; i < summed.size(); i += 2)
    sum += static_cast<uint8_t>(summed[i]) << 8 | static_cast<uint8_t>(summed[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  EXPECT_EQ(sum, 0xffffU);
}

TEST(AnnouncementFrame, NobodyClaimsTheUnspecifiedAddress) {
  EXPECT_EQ(announcement_frame(kMac, AF_INET, std::string(4, '\0')), "");
  EXPECT_EQ(announcement_frame(kMac, AF_INET, "short"), "");
  EXPECT_EQ(announcement_frame(kMac, AF_PACKET, "\x01\x02\x03\x04"), "");
}

}  // namespace
}  // namespace godwit::network
