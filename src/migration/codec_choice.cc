#include "migration/codec_choice.h"

#include <algorithm>

namespace godwit {

namespace {

// Two full frames: some milliseconds on a link of 10 Gbit/s.
constexpr size_t kMeasuredBytes = size_t{2} << 20;
constexpr size_t kBytesBetweenMax = size_t{512} << 20;
// What a codec must save to be worth the processors' time.
constexpr double kWorthIt = 0.9;

}  // namespace

void CodecChoice::sent(const Sent& frame) {
  sent_.bytes += frame.bytes;
  sent_.pack_ms += frame.pack_ms;
  sent_.send_ms += frame.send_ms;
}

bool CodecChoice::wants_sync() const { return !fixed_ && sent_.bytes >= (measured_ ? kMeasuredBytes : bytes_between_); }

void CodecChoice::synced(double ms) {
  sent_.send_ms += ms;
  if (measured_)
    judge();
  else
    measured_ = wire::Codec::kNone;
  sent_ = {};
}

void CodecChoice::judge() {
  const double ms = (sent_.pack_ms + sent_.send_ms) / static_cast<double>(sent_.bytes);
  if (*measured_ == wire::Codec::kNone) {
    best_ = wire::Codec::kNone;
    best_ms_ = kWorthIt * ms;
    measured_ = wire::Codec::kLz4;
    return;
  }
  if (ms >= best_ms_) return end_measuring();
  best_ = *measured_;
  best_ms_ = ms;
  if (*measured_ == wire::Codec::kZstd) return end_measuring();
  measured_ = wire::Codec::kZstd;
}

void CodecChoice::end_measuring() {
  measured_.reset();
  bytes_between_ = best_ == now_ ? std::min(bytes_between_ * 2, kBytesBetweenMax) : kBytesBetweenMin;
  now_ = best_;
}

}  // namespace godwit
