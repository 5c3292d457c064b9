#include "migration/codec_choice.h"

#include <algorithm>

namespace godwit {

namespace {

// More than socket buffers take at once (tcp_wmem's maximum is 4 to 6 MiB), so that its time is the link's.
constexpr size_t kWindowBytes = size_t{16} << 20;
constexpr size_t kWindowsBetweenMax = 32;
// A promise must be better than this; what is measured then only needs to be faster.
constexpr double kPromise = 0.9;
constexpr std::array kCandidates{wire::Codec::kLz4, wire::Codec::kZstd};

double ms_per_byte(const CodecChoice::Sent& sent) {
  return (sent.pack_ms + sent.send_ms) / static_cast<double>(std::max<size_t>(sent.bytes, 1));
}

}  // namespace

void CodecChoice::sent(const Sent& frame) {
  if (fixed_ || frame.bytes == 0) return;
  if (trial_) return judge_trial(frame);
  window_.bytes += frame.bytes;
  window_.bytes_on_wire += frame.bytes_on_wire;
  window_.pack_ms += frame.pack_ms;
  window_.send_ms += frame.send_ms;
  if (window_.bytes >= kWindowBytes) end_window();
}

void CodecChoice::end_window() {
  const double cost = ms_per_byte(window_);
  window_ = {};
  ++windows_;
  if (now_ == wire::Codec::kNone) {
    plain_ms_ = cost;
    if (windows_ < windows_between_) return;
    candidate_ = 0;
    trial_ = kCandidates[candidate_];
    best_ = wire::Codec::kNone;
    best_promise_ = kPromise * plain_ms_;
  } else if (cost >= plain_ms_) {
    now_ = wire::Codec::kNone;
    windows_ = 0;
    windows_between_ = std::min(windows_between_ * 2, kWindowsBetweenMax);
  } else if (windows_ >= kWindowsBetweenMax) {
    now_ = wire::Codec::kNone;  // for a window: the link may have become faster
    windows_ = 0;
    windows_between_ = 1;
  }
}

// What the link takes for a byte is known; the frame says how many there will be, and what packing takes.
void CodecChoice::judge_trial(const Sent& frame) {
  const double size = static_cast<double>(frame.bytes_on_wire) / static_cast<double>(frame.bytes);
  const double promised = frame.pack_ms / static_cast<double>(frame.bytes) + size * plain_ms_;
  if (promised < best_promise_) {
    best_ = *trial_;
    best_promise_ = promised;
  }
  if (++candidate_ < kCandidates.size())
    trial_ = kCandidates[candidate_];
  else
    end_trials();
}

void CodecChoice::end_trials() {
  trial_.reset();
  now_ = best_;
  windows_ = 0;
  windows_between_ = best_ == wire::Codec::kNone ? std::min(windows_between_ * 2, kWindowsBetweenMax) : 1;
}

}  // namespace godwit
