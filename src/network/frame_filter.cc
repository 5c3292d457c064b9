#include "network/frame_filter.h"

namespace godwit::network {
namespace {

using namespace std::string_view_literals;

constexpr size_t kEthernetBytes = 14;
constexpr std::string_view kArp = "\x08\x06"sv;
constexpr std::string_view kIpv6 = "\x86\xdd"sv;

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

}  // namespace

FrameFilter::FrameFilter(const std::vector<HostPort>& ports, const peer::NetworkState& state) {
  for (const HostPort& port : ports) macs_.emplace(as_bytes(port.mac));
  for (const peer::Address& address : state.addresses()) addresses_.insert(address.address());
}

bool FrameFilter::wants(std::string_view frame) const {
  if (frame.size() < kEthernetBytes) return false;
  return macs_.contains(frame.substr(0, 6)) || addresses_.contains(arp_target(frame)) ||
         addresses_.contains(solicitation_target(frame));
}

}  // namespace godwit::network
