#include "wire/protocol.h"

namespace godwit::wire {

const uint32_t kProtocolMajor = GODWIT_PROTOCOL_MAJOR;

Result<> check_version(uint32_t major, uint32_t minor, const std::string& software) {
  if (major == kProtocolMajor) return {};
  return fail("the other agent (godwit " + software.substr(0, 32) + ") speaks protocol " + std::to_string(major) + "." +
              std::to_string(minor) + ", this one (godwit " GODWIT_VERSION ") " + std::to_string(kProtocolMajor) + "." +
              std::to_string(kProtocolMinor) + ": majors must be equal, update the older");
}

}  // namespace godwit::wire
