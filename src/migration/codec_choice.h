// How page contents are packed on one connection. Chosen by measurement if nobody has: a codec must be worth its time.
//
// Now and then a little goes unpacked, then as much packed, each until the receiver has taken it (wants_sync): what
// socket buffers have swallowed is still to be unpacked. The cheapest is kept until the next time, which comes ever
// more seldom while the answer stays the same. The strong codec is only tried where the quick one has been worth it, so
// that asking costs little where the link is fast.
#pragma once

#include <cstddef>
#include <optional>

#include "wire/frame.h"

namespace godwit {

class CodecChoice {
 public:
  CodecChoice() = default;  // by measurement
  explicit CodecChoice(wire::Codec fixed) : fixed_(fixed), now_(fixed) {}

  // For the next frame.
  wire::Codec next() const { return measured_.value_or(now_); }

  // A frame has gone as next() said. MS are times of packing, and of waiting for the limit and the link.
  struct Sent {
    size_t bytes = 0;  // of contents
    double pack_ms = 0;
    double send_ms = 0;
  };
  void sent(const Sent& frame);

  // Before the next frame the receiver is to have taken everything; waiting for it took MS. If nobody waits, nothing is
  // measured.
  bool wants_sync() const;
  void synced(double ms);

 private:
  void judge();
  void end_measuring();

  std::optional<wire::Codec> fixed_;
  wire::Codec now_ = wire::Codec::kNone;
  std::optional<wire::Codec> measured_;  // what is being measured
  Sent sent_;                            // since the last sync
  wire::Codec best_ = wire::Codec::kNone;
  double best_ms_ = 0;  // for one byte; what another codec must be below
  size_t bytes_between_ = kBytesBetweenMin;

  static constexpr size_t kBytesBetweenMin = size_t{8} << 20;
};

}  // namespace godwit
