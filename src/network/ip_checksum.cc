#include "network/ip_checksum.h"

namespace godwit::network {

uint16_t internet_checksum(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 8 |
           (i + 1 < bytes.size() ? static_cast<uint8_t>(bytes[i + 1]) : 0U);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// What is summed begins with a pseudo-header: addresses, length, protocol (RFC 8200 8.1). That of IPv4 has the same
// numbers in another order, which makes no difference.
void set_transport_checksum(std::string_view source, std::string_view destination, uint8_t protocol,
                            std::string& message, size_t at) {
  const size_t size = message.size();
  std::string summed(source);
  summed.append(destination).append({static_cast<char>(size >> 8), static_cast<char>(size & 0xff), '\0'});
  summed.push_back(static_cast<char>(protocol));
  uint16_t sum = internet_checksum(summed.append(message));
  if (sum == 0) sum = 0xffff;  // the same number; 0 is what UDP has for "none"
  message[at] = static_cast<char>(sum >> 8);
  message[at + 1] = static_cast<char>(sum & 0xff);
}

}  // namespace godwit::network
