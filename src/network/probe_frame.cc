#include "network/probe_frame.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "network/ip_checksum.h"

namespace godwit::network {
namespace {

using namespace std::string_view_literals;

constexpr size_t kEthernetBytes = 14;
constexpr auto kBroadcast = "\xff\xff\xff\xff\xff\xff"sv;
constexpr auto kArp = "\x08\x06"sv, kIpv6 = "\x86\xdd"sv;
constexpr std::string_view kUnspecified("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string bytes;
  for (std::string_view part : parts) bytes.append(part);
  return bytes;
}

// RFC 5227 2.1.1: a request whose sender's address is all zero.
std::string arp_probe(std::string_view mac, std::string_view address) {
  return joined({kBroadcast, mac, kArp,                 //
                 "\x00\x01\x08\x00\x06\x04\x00\x01"sv,  // IPv4 over Ethernet, request
                 mac, "\0\0\0\0"sv, "\0\0\0\0\0\0"sv, address, std::string(18, '\0')});
}

// RFC 4862 5.4.2: a solicitation from the unspecified address to the solicited-node group.
std::string neighbour_probe(std::string_view mac, std::string_view address) {
  const std::string group = joined({"\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff"sv, address.substr(13)});
  std::string message = joined({"\x87\0\0\0"sv, "\0\0\0\0"sv, address});
  set_transport_checksum(kUnspecified, group, IPPROTO_ICMPV6, message, kIcmpChecksumAt);
  return joined({"\x33\x33\xff"sv, address.substr(13), mac, kIpv6,  //
                 "\x60\0\0\0\x00\x18\x3a\xff"sv,                    // 24 bytes of ICMPv6, hop limit 255
                 kUnspecified, group, message});
}

std::optional<MacAddress> mac_at(std::string_view bytes) {
  auto mac = unicast_mac(bytes);
  return mac ? std::optional(*mac) : std::nullopt;
}

// Any ARP packet whose sender has the address (RFC 5227 2.1.1).
std::optional<Claim> parse_arp(std::string_view frame) {
  constexpr size_t kSender = kEthernetBytes + 8;
  if (frame.size() < kEthernetBytes + 28) return std::nullopt;
  auto mac = mac_at(frame.substr(kSender, 6));
  if (!mac) return std::nullopt;
  return Claim{.address = std::string(frame.substr(kSender + 6, 4)), .mac = *mac};
}

std::optional<Claim> parse_advertisement(std::string_view frame) {
  constexpr size_t kNextHeader = kEthernetBytes + 6, kIcmp = kEthernetBytes + 40, kOptions = kIcmp + 24;
  if (frame.size() < kOptions || frame[kNextHeader] != 58 || frame.substr(kIcmp, 1) != "\x88"sv) return std::nullopt;
  auto mac = mac_at(frame.substr(6, 6));
  if (frame.size() >= kOptions + 8 && frame.substr(kOptions, 2) == "\x02\x01"sv)
    mac = mac_at(frame.substr(kOptions + 2, 6));
  if (!mac) return std::nullopt;
  return Claim{.address = std::string(frame.substr(kIcmp + 8, 16)), .mac = *mac};
}

}  // namespace

std::string probe_frame(const MacAddress& mac, uint32_t family, std::string_view address) {
  if (family == AF_INET && address.size() == 4) return arp_probe(as_bytes(mac), address);
  if (family == AF_INET6 && address.size() == 16) return neighbour_probe(as_bytes(mac), address);
  return {};
}

std::optional<Claim> parse_claim(std::string_view frame) {
  if (frame.size() < kEthernetBytes) return std::nullopt;
  if (frame.substr(12, 2) == kArp) return parse_arp(frame);
  if (frame.substr(12, 2) == kIpv6) return parse_advertisement(frame);
  return std::nullopt;
}

}  // namespace godwit::network
