#include "wire/preamble.h"

#include "base/identifier.h"
#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr size_t kMajorAt = 8, kMinorAt = 10, kChannelAt = 12, kIdAt = 16, kIdBytes = 16;

}  // namespace

Preamble preamble_of(const Hello& hello) {
  return {.version_major = hello.version_major,
          .version_minor = hello.version_minor,
          .channel = hello.channel,
          .migration_id = hello.migration_id};
}

Result<std::string> encode_preamble(const Preamble& preamble) {
  TRY(check_id(preamble.migration_id));
  if (preamble.channel >= kChannelsMax) return fail("channel " + std::to_string(preamble.channel) + " is out of range");
  std::string bytes(kPreambleBytes, '\0');
  bytes.replace(0, kPreambleMagic.size(), kPreambleMagic);
  put_le(&bytes[kMajorAt], preamble.version_major);
  put_le(&bytes[kMinorAt], preamble.version_minor);
  put_le(&bytes[kChannelAt], preamble.channel);
  bytes.replace(kIdAt, kIdBytes, preamble.migration_id);
  return bytes;
}

Result<Preamble> decode_preamble(std::string_view bytes) {
  if (bytes.size() != kPreambleBytes) return fail("preamble of " + std::to_string(bytes.size()) + " bytes");
  if (!bytes.starts_with(kPreambleMagic)) return fail("preamble without its magic bytes");
  Preamble preamble;
  preamble.version_major = get_le<uint16_t>(&bytes[kMajorAt]);
  preamble.version_minor = get_le<uint16_t>(&bytes[kMinorAt]);
  if (preamble.version_major != kDataVersionMajor) return preamble;
  preamble.channel = get_le<uint16_t>(&bytes[kChannelAt]);
  if (preamble.channel >= kChannelsMax) return fail("preamble for channel " + std::to_string(preamble.channel));
  preamble.migration_id = bytes.substr(kIdAt, kIdBytes);
  TRY_DOING("preamble", check_id(preamble.migration_id));
  return preamble;
}

}  // namespace godwit::wire
