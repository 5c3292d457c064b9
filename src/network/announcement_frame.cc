#include "network/announcement_frame.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <string_view>

#include "network/ip_checksum.h"

namespace godwit::network {
namespace {

using namespace std::string_view_literals;

constexpr auto kBroadcast = "\xff\xff\xff\xff\xff\xff"sv;
constexpr auto kAllNodesMac = "\x33\x33\x00\x00\x00\x01"sv;
constexpr auto kAllNodes = "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"sv;

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string bytes;
  for (std::string_view part : parts) bytes.append(part);
  return bytes;
}

// RFC 5227, 1.1: a request whose sender and target address are the same.
std::string arp_announcement(std::string_view mac, std::string_view address) {
  return joined({kBroadcast, mac, "\x08\x06"sv,            // Ethernet
                 "\x00\x01\x08\x00\x06\x04\x00\x01"sv,     // IPv4 over Ethernet, request
                 mac, address, "\0\0\0\0\0\0"sv, address,  //
                 std::string(18, '\0')});                  // to the least length of a frame
}

// RFC 4861, 4.4: unsolicited, with the override flag, to all nodes.
std::string neighbour_advertisement(std::string_view mac, std::string_view address) {
  std::string message = joined({"\x88\0\0\0"sv,       // type 136, checksum still 0
                                "\x20\0\0\0"sv,       // override
                                address,              //
                                "\x02\x01"sv, mac});  // option: the target's MAC
  set_transport_checksum(address, kAllNodes, IPPROTO_ICMPV6, message, kIcmpChecksumAt);
  return joined({kAllNodesMac, mac, "\x86\xdd"sv,  //
                 "\x60\0\0\0\x00\x20\x3a\xff"sv,   // 32 bytes of ICMPv6, hop limit 255
                 address, kAllNodes, message});
}

}  // namespace

std::string announcement_frame(const MacAddress& mac, uint32_t family, const std::string& address) {
  bool unspecified = address.find_first_not_of('\0') == std::string::npos;
  if (unspecified) return {};
  if (family == AF_INET && address.size() == 4) return arp_announcement(as_bytes(mac), address);
  if (family == AF_INET6 && address.size() == 16) return neighbour_advertisement(as_bytes(mac), address);
  return {};
}

}  // namespace godwit::network
