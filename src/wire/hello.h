// How a data connection opens. The memory and images of a migration travel on such connections,
// beside the control connection (api/peer.proto), which names the target's data address and the
// token.
//
//   source                                     target
//      | preamble (preamble.h), plain        --> |   channel, migration: where it is to go; 32 bytes
//      | -------- mutually verified TLS 1.3 ---- |
//      | Hello                               --> |   channel, migration, token; 64 bytes
//      | <--                            HelloAck |   16 bytes; after a refusal the target closes
//      | frames (frame.h)                        |   under TLS, or plain if both agreed
//
// Between Hello and HelloAck the source sends nothing, so that the switch to plain has an exact
// place.
//
// Versions: the size of both messages and their first twelve bytes are the same in all versions.
// Majors must be equal. Minors may differ: each side uses only what the lower minor has, and
// ignores flag bits of the Hello and HelloAck it does not know.
//
// Integers are little-endian.
//   Hello     0 magic "GDWTDATA"   8 u16 major   10 u16 minor   12 u16 channel
//             14 u8 flags: 1 = the source would go on without TLS   15 u8 zero
//             16 migration id, 16 characters of [0-9a-f]   32 token, 32 bytes
//   HelloAck  0 magic "GDWTDACK"   8 u16 major   10 u16 minor
//             12 u8 status: 0 accepted, 1 refused   13 u8 reason, see Refusal; 0 when accepted
//             14 u8 flags: 1 = go on without TLS   15 u8 zero
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit::wire {

inline constexpr uint16_t kDataVersionMajor = 2;
inline constexpr uint16_t kDataVersionMinor = 1;  // 1: Filler (frame.h)

inline constexpr size_t kHelloBytes = 64;
inline constexpr size_t kHelloAckBytes = 16;
inline constexpr size_t kTokenBytes = 32;

// More than any migration uses; bounds what a peer can make the target keep per migration.
inline constexpr uint16_t kChannelsMax = 64;

struct Hello {
  uint16_t version_major = kDataVersionMajor;
  uint16_t version_minor = kDataVersionMinor;
  uint16_t channel = 0;      // which of the migration's data connections this is, < kChannelsMax
  bool want_plain = false;   // the source's configuration says data_encryption = false
  std::string migration_id;  // check_id holds
  std::string token;         // kTokenBytes bytes, secret; compare with equal_secret (transport)
};

enum class Refusal : uint8_t {
  kNone = 0,
  kVersion = 1,           // another major
  kPeerName = 2,          // the peer's name is not allowed here
  kUnknownMigration = 3,  // or the token is wrong: which of both is not told
  kChannel = 4,           // channel taken or out of range
  kBusy = 5,
  kStopping = 6,
};
// For users: "unknown migration or wrong token"; "reason 77" for a number of a later version.
std::string refusal_text(Refusal refusal);

struct HelloAck {
  uint16_t version_major = kDataVersionMajor;
  uint16_t version_minor = kDataVersionMinor;
  Refusal refusal = Refusal::kNone;  // kNone: accepted
  bool plain = false;
};

// Exactly kHelloBytes. An error if the id, the token (both may come from a peer) or the channel are
// not as above.
Result<std::string> encode_hello(const Hello& hello);
std::string encode_hello_ack(const HelloAck& ack);

// BYTES is exactly one message. A Hello of another major is returned with nothing but its version
// filled in, so that it can be refused with a reason. Anything malformed is an error.
Result<Hello> decode_hello(std::string_view bytes);
Result<HelloAck> decode_hello_ack(std::string_view bytes);

}  // namespace godwit::wire
