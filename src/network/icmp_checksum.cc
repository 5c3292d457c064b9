#include "network/icmp_checksum.h"

#include <cstdint>

namespace godwit::network {
namespace {

// RFC 1071, over 16-bit words in network order.
uint16_t checksum(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2)
    sum += static_cast<uint8_t>(bytes[i]) << 8 | static_cast<uint8_t>(bytes[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

}  // namespace

// What is summed begins with a pseudo-header: addresses, length, next header (RFC 8200 8.1).
void set_icmp_checksum(std::string_view from, std::string_view to, std::string& message) {
  std::string summed(from);
  summed.append(to).append(2, '\0');
  summed.push_back(static_cast<char>(message.size() >> 8));
  summed.push_back(static_cast<char>(message.size() & 0xff));
  summed.append(3, '\0').push_back(58);
  const uint16_t sum = checksum(summed.append(message));
  message[2] = static_cast<char>(sum >> 8);
  message[3] = static_cast<char>(sum & 0xff);
}

}  // namespace godwit::network
