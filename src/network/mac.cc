#include "network/mac.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/identifier.h"

namespace godwit::network {

Result<MacAddress> unicast_mac(std::string_view bytes) {
  MacAddress mac{};
  if (bytes.size() != mac.size()) return fail("a MAC address is not six bytes long");
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(mac.data()));
  if (mac == MacAddress{} || (mac[0] & 1)) return fail("MAC address " + to_text(mac) + " does not name one station");
  return mac;
}

MacAddress high_mac() {
  MacAddress mac{0xfe};
  std::string bytes = random_bytes(mac.size() - 1);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(mac.data()) + 1);
  return mac;
}

std::string to_text(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

}  // namespace godwit::network
