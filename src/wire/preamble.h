// The first bytes of a data connection, before TLS. They say which process of the target it is for: channels of memory
// end in the migration's godwit-pager, and what TLS has agreed on cannot be moved from one process to another. Nobody
// is trusted for them: what they claim is proved by certificate and token in the Hello that follows (wire/hello.h).
//
// Whoever sees the link reads them; a migration's id is no secret.
//
// Versions: the size and the first twelve bytes are the same in all versions; the version is the Hello's.
//
// Integers are little-endian.
//   0 magic "GDWTOPEN"   8 u16 major   10 u16 minor   12 u16 channel   14 u16 zero
//   16 migration id, 16 characters of [0-9a-f]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/hello.h"

namespace godwit::wire {

inline constexpr size_t kPreambleBytes = 32;
inline constexpr std::string_view kPreambleMagic = "GDWTOPEN";

struct Preamble {
  uint16_t version_major = kDataVersionMajor;
  uint16_t version_minor = kDataVersionMinor;
  uint16_t channel = 0;
  std::string migration_id;
};

// Of the connection that begins with HELLO.
Preamble preamble_of(const Hello& hello);
// Exactly kPreambleBytes. An error if id or channel are not as in a Hello.
Result<std::string> encode_preamble(const Preamble& preamble);
// BYTES is exactly one. That of another major is returned with nothing but its version filled in.
Result<Preamble> decode_preamble(std::string_view bytes);

}  // namespace godwit::wire
