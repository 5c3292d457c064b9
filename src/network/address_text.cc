#include "network/address_text.h"

#include <arpa/inet.h>

namespace godwit::network {

size_t address_bytes(uint32_t family) {
  if (family == AF_INET) return sizeof(in_addr);
  return family == AF_INET6 ? sizeof(in6_addr) : 0;
}

std::string address_text(uint32_t family, std::string_view address) {
  char text[INET6_ADDRSTRLEN];
  if (address.empty()) return "any";
  if (address.size() != address_bytes(family) ||
      !inet_ntop(static_cast<int>(family), address.data(), text, sizeof(text)))
    return "?";
  return text;
}

}  // namespace godwit::network
