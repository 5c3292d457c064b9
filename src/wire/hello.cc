#include "wire/hello.h"

#include "base/identifier.h"
#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr std::string_view kHelloMagic = "GDWTDATA";
constexpr std::string_view kAckMagic = "GDWTDACK";
constexpr char kFlagPlain = 1;
constexpr char kStatusAccepted = 0;
constexpr char kStatusRefused = 1;

// Places in both messages, see the header.
constexpr size_t kMajorAt = 8, kMinorAt = 10, kFlagsAt = 14;
// In Hello.
constexpr size_t kChannelAt = 12, kIdAt = 16, kIdBytes = 16, kTokenAt = 32;
// In HelloAck.
constexpr size_t kStatusAt = 12, kReasonAt = 13;

Result<> check_opening(std::string_view what, std::string_view bytes, size_t size, std::string_view magic) {
  if (bytes.size() != size) return fail(std::string(what) + " of " + std::to_string(bytes.size()) + " bytes");
  if (!bytes.starts_with(magic)) return fail(std::string(what) + " without its magic bytes");
  return {};
}

}  // namespace

std::string refusal_text(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "accepted";
    case Refusal::kVersion:
      return "another version of the data protocol";
    case Refusal::kPeerName:
      return "our name is not among its peers";
    case Refusal::kUnknownMigration:
      return "unknown migration or wrong token";
    case Refusal::kChannel:
      return "channel taken or out of range";
    case Refusal::kBusy:
      return "busy";
    case Refusal::kStopping:
      return "the agent is stopping";
  }
  return "reason " + std::to_string(static_cast<int>(refusal));
}

Result<std::string> encode_hello(const Hello& hello) {
  TRY(check_id(hello.migration_id));
  if (hello.token.size() != kTokenBytes)
    return fail("a token has " + std::to_string(kTokenBytes) + " bytes, not " + std::to_string(hello.token.size()));
  if (hello.channel >= kChannelsMax) return fail("channel " + std::to_string(hello.channel) + " is out of range");
  std::string bytes(kHelloBytes, '\0');
  bytes.replace(0, kHelloMagic.size(), kHelloMagic);
  put_le(&bytes[kMajorAt], hello.version_major);
  put_le(&bytes[kMinorAt], hello.version_minor);
  put_le(&bytes[kChannelAt], hello.channel);
  bytes[kFlagsAt] = hello.want_plain ? kFlagPlain : '\0';
  bytes.replace(kIdAt, kIdBytes, hello.migration_id);
  bytes.replace(kTokenAt, kTokenBytes, hello.token);
  return bytes;
}

Result<Hello> decode_hello(std::string_view bytes) {
  TRY(check_opening("hello", bytes, kHelloBytes, kHelloMagic));
  Hello hello;
  hello.version_major = get_le<uint16_t>(&bytes[kMajorAt]);
  hello.version_minor = get_le<uint16_t>(&bytes[kMinorAt]);
  if (hello.version_major != kDataVersionMajor) return hello;
  hello.channel = get_le<uint16_t>(&bytes[kChannelAt]);
  if (hello.channel >= kChannelsMax) return fail("hello for channel " + std::to_string(hello.channel));
  hello.want_plain = (bytes[kFlagsAt] & kFlagPlain) != 0;
  hello.migration_id = bytes.substr(kIdAt, kIdBytes);
  TRY_DOING("hello", check_id(hello.migration_id));
  hello.token = bytes.substr(kTokenAt, kTokenBytes);
  return hello;
}

std::string encode_hello_ack(const HelloAck& ack) {
  std::string bytes(kHelloAckBytes, '\0');
  bytes.replace(0, kAckMagic.size(), kAckMagic);
  put_le(&bytes[kMajorAt], ack.version_major);
  put_le(&bytes[kMinorAt], ack.version_minor);
  bytes[kStatusAt] = ack.refusal == Refusal::kNone ? kStatusAccepted : kStatusRefused;
  bytes[kReasonAt] = static_cast<char>(ack.refusal);
  bytes[kFlagsAt] = ack.plain ? kFlagPlain : '\0';
  return bytes;
}

Result<HelloAck> decode_hello_ack(std::string_view bytes) {
  TRY(check_opening("answer to hello", bytes, kHelloAckBytes, kAckMagic));
  HelloAck ack;
  ack.version_major = get_le<uint16_t>(&bytes[kMajorAt]);
  ack.version_minor = get_le<uint16_t>(&bytes[kMinorAt]);
  ack.refusal = static_cast<Refusal>(bytes[kReasonAt]);
  ack.plain = (bytes[kFlagsAt] & kFlagPlain) != 0;
  const bool accepted = bytes[kStatusAt] == kStatusAccepted;
  if (bytes[kStatusAt] != kStatusAccepted && bytes[kStatusAt] != kStatusRefused)
    return fail("answer to hello with an unknown status");
  if (accepted != (ack.refusal == Refusal::kNone))
    return fail("answer to hello whose status and reason contradict each other");
  return ack;
}

}  // namespace godwit::wire
