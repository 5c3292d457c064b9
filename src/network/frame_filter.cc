#include "network/frame_filter.h"

namespace godwit::network {
namespace {

using namespace std::string_view_literals;

constexpr size_t kEthernetBytes = 14;
constexpr std::string_view kArp = "\x08\x06"sv;
constexpr std::string_view kIpv4 = "\x08\x00"sv;
constexpr std::string_view kIpv6 = "\x86\xdd"sv;
constexpr std::string_view kVlanTag = "\x81\x00"sv;

// What an ARP request asks for; empty if FRAME is none.
std::string_view arp_target(std::string_view frame) {
  constexpr size_t kOperation = kEthernetBytes + 6, kTarget = kEthernetBytes + 24;
  if (frame.size() < kTarget + 4 || frame.substr(12, 2) != kArp) return {};
  if (frame.substr(kOperation, 2) != "\x00\x01"sv) return {};
  return frame.substr(kTarget, 4);
}

// What a neighbour solicitation asks for; empty if FRAME is none. It has no extension headers (RFC
// 4861).
std::string_view solicitation_target(std::string_view frame) {
  constexpr size_t kNextHeader = kEthernetBytes + 6, kIcmp = kEthernetBytes + 40;
  constexpr size_t kTarget = kIcmp + 8;
  constexpr char kIcmpv6 = 58;
  constexpr auto kSolicitation = static_cast<char>(135);
  if (frame.size() < kTarget + 16 || frame.substr(12, 2) != kIpv6) return {};
  if (frame[kNextHeader] != kIcmpv6 || frame[kIcmp] != kSolicitation) return {};
  return frame.substr(kTarget, 16);
}

// Where the TCP header begins; 0 if there is none, or it lies behind extension headers, or in another fragment.
size_t tcp_header_at(std::string_view frame) {
  constexpr char kTcp = 6;
  constexpr size_t kTagBytes = 4, kIpv4BytesMin = 20, kIpv6Bytes = 40;
  const size_t ip = frame.substr(12, 2) == kVlanTag ? kEthernetBytes + kTagBytes : kEthernetBytes;
  const std::string_view kind = frame.substr(ip - 2, 2), packet = frame.substr(ip);
  if (kind == kIpv4 && packet.size() >= kIpv4BytesMin) {
    const bool first = (packet[6] & 0x1f) == 0 && packet[7] == 0;
    const size_t header = size_t{static_cast<uint8_t>(packet[0]) & 0x0fU} * 4;
    return packet[9] == kTcp && first && header >= kIpv4BytesMin ? ip + header : 0;
  }
  if (kind == kIpv6 && packet.size() >= kIpv6Bytes && packet[6] == kTcp) return ip + kIpv6Bytes;
  return 0;
}

}  // namespace

bool opens_tcp_connection(std::string_view frame) {
  constexpr size_t kFlags = 13;
  constexpr uint8_t kSyn = 0x02, kRst = 0x04, kAck = 0x10;
  if (frame.size() < kEthernetBytes + 4) return false;
  const size_t tcp = tcp_header_at(frame);
  if (tcp == 0 || frame.size() <= tcp + kFlags) return false;
  return (static_cast<uint8_t>(frame[tcp + kFlags]) & (kSyn | kRst | kAck)) == kSyn;
}

FrameFilter::FrameFilter(const std::vector<HostPort>& ports, const peer::NetworkState& state) {
  for (const HostPort& port : ports) macs_.emplace(as_bytes(port.mac));
  for (const peer::Address& address : state.addresses()) addresses_.insert(address.address());
}

bool FrameFilter::wants(std::string_view frame) const {
  if (frame.size() < kEthernetBytes) return false;
  return macs_.contains(frame.substr(0, 6)) || addresses_.contains(arp_target(frame)) ||
         addresses_.contains(solicitation_target(frame));
}

bool FrameFilter::is_to_container(std::string_view frame) const {
  return frame.size() >= kEthernetBytes && macs_.contains(frame.substr(0, 6));
}

}  // namespace godwit::network
