// How page contents are packed on one connection. Chosen by measurement if nobody has: a codec must be worth its time.
//
// Contents go unpacked until a window of them has told what that costs. Then one frame is packed by each codec to see
// how fast and how small that is here; if the best of them promises a gain, windows go packed by it, as long as that is
// measured to be faster. So where the link is faster than the codecs the price of asking is a frame packed by each in a
// window, and ever more seldom.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "wire/frame.h"

namespace godwit {

class CodecChoice {
 public:
  CodecChoice() = default;  // by measurement
  explicit CodecChoice(wire::Codec fixed) : fixed_(fixed), now_(fixed) {}

  // For the next frame.
  wire::Codec next() const { return trial_ ? *trial_ : now_; }

  // A frame has gone as next() said. MS are times of packing, and of waiting for the limit and the link.
  struct Sent {
    size_t bytes = 0;  // of contents
    size_t bytes_on_wire = 0;
    double pack_ms = 0;
    double send_ms = 0;
  };
  void sent(const Sent& frame);

 private:
  void end_window();
  void judge_trial(const Sent& frame);
  void end_trials();

  std::optional<wire::Codec> fixed_;
  wire::Codec now_ = wire::Codec::kNone;
  std::optional<wire::Codec> trial_;  // of one frame
  Sent window_;
  double plain_ms_ = 0;         // for one byte, in the last window without a codec
  size_t windows_ = 0;          // since the last trial, or since the last window without a codec
  size_t windows_between_ = 1;  // trials
  size_t candidate_ = 0;        // on trial
  double best_promise_ = 0;     // for one byte, of those tried so far
  wire::Codec best_ = wire::Codec::kNone;
};

}  // namespace godwit
