// A container's network as a peer describes it, and frames as they come off the wire.
#include "network/announcement_frame.h"
#include "network/frame_filter.h"
#include "network/validate.h"
#include "peer.pb.h"
#include "target.h"

using namespace godwit;
using fuzz::require;

GODWIT_FUZZ_TARGET(network_state) {
  peer::NetworkState state;
  if (!state.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  if (!network::check_network_state(state)) return;
  require(state.links_size() <= network::kLinksMax && state.routes_size() <= network::kRoutesMax, "it is bounded");
  for (const auto& sysctl : state.sysctls()) {
    require(("/" + sysctl.path() + "/").find("/../") == std::string::npos && !sysctl.path().starts_with('/'),
            "sysctls stay below net");
    require(sysctl.value().find('\n') == std::string::npos, "values are one line");
  }
  const network::FrameFilter filter({}, state);
  (void)filter.wants(input);
}

GODWIT_FUZZ_TARGET(frame) {
  static const network::FrameFilter filter = [] {
    peer::NetworkState state;
    auto& address = *state.add_addresses();
    address.set_link("eth0");
    address.set_family(2);
    address.set_address("\x0a\x63\x02\x05");
    auto& other = *state.add_addresses();
    other.set_link("eth0");
    other.set_family(10);
    other.set_address(std::string("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05", 16));
    return network::FrameFilter({{.link = "eth0", .mac = {2, 0, 0, 0, 0, 5}, .name = "veth", .bridge = "br"}}, state);
  }();
  if (filter.wants(input)) require(input.size() >= 14, "a frame has a header");
}

GODWIT_FUZZ_TARGET(announcement) {
  fuzz::Cutter cut(input);
  const unsigned family = cut.byte() % 2 == 0 ? 2 : 10;
  network::MacAddress mac{2, 0, 0, 0, 0, 5};
  const std::string address(cut.rest());
  const std::string frame = network::announcement_frame(mac, family, address);
  require(frame.empty() || address.size() == (family == 2 ? 4u : 16u), "an address has the size of its family");
  require(frame.size() <= 128, "an announcement is short");
}
