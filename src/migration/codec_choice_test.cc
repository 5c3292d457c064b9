#include "migration/codec_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace godwit {
namespace {

constexpr size_t kFrame = size_t{1} << 20;

// A link and contents: what a frame costs with each codec.
struct Scene {
  double link_ms;  // for a frame unpacked
  double lz4_ms = 1.5, lz4_size = 0.5;
  double zstd_ms = 4, zstd_size = 0.35;
  double unpack_ms = 0;  // at the receiver, which has a thread of its own for it

  // Sends FRAMES; returns the time they take.
  double send(CodecChoice& choice, int frames) const {
    double total = 0, behind_ms = 0;
    for (int i = 0; i < frames; ++i) {
      const wire::Codec codec = choice.next();
      const double size = codec == wire::Codec::kLz4 ? lz4_size : codec == wire::Codec::kZstd ? zstd_size : 1;
      const double pack_ms = codec == wire::Codec::kLz4 ? lz4_ms : codec == wire::Codec::kZstd ? zstd_ms : 0;
      choice.sent({.bytes = kFrame, .pack_ms = pack_ms, .send_ms = size * link_ms});
      total += pack_ms + size * link_ms;
      if (codec != wire::Codec::kNone) behind_ms += unpack_ms;
      behind_ms = std::max(0.0, behind_ms - pack_ms - size * link_ms);
      if (!choice.wants_sync()) continue;
      choice.synced(behind_ms);
      total += std::exchange(behind_ms, 0);
    }
    return total + behind_ms;
  }
};

TEST(CodecChoice, OnAFastLinkNothingIsPackedAndAskingCostsLittle) {
  const Scene scene{.link_ms = 0.8};
  CodecChoice choice;
  EXPECT_LT(scene.send(choice, 4096), 1.03 * 4096 * scene.link_ms);
  EXPECT_EQ(choice.next(), wire::Codec::kNone);
}

TEST(CodecChoice, OnASlowLinkContentsArePacked) {
  const Scene scene{.link_ms = 8.5};  // 1 Gbit/s
  CodecChoice choice;
  EXPECT_LT(scene.send(choice, 4096), 0.75 * 4096 * scene.link_ms);
}

TEST(CodecChoice, ContentsThatDoNotShrinkAreLeftAlone) {
  const Scene scene{.link_ms = 8.5, .lz4_size = 1, .zstd_size = 1};
  CodecChoice choice;
  EXPECT_LT(scene.send(choice, 4096), 1.01 * 4096 * scene.link_ms);
  EXPECT_EQ(choice.next(), wire::Codec::kNone);
}

TEST(CodecChoice, ACodecThatDoesNotKeepItsPromiseIsGivenUp) {
  CodecChoice choice;
  const Scene promising{.link_ms = 8.5};
  promising.send(choice, 64);
  ASSERT_NE(choice.next(), wire::Codec::kNone);
  const Scene slow{.link_ms = 8.5, .lz4_ms = 20, .zstd_ms = 20};  // others want the processor
  slow.send(choice, 128);
  EXPECT_EQ(choice.next(), wire::Codec::kNone);
}

TEST(CodecChoice, ALinkThatBecomesFastIsNoticed) {
  CodecChoice choice;
  Scene{.link_ms = 8.5}.send(choice, 256);
  const Scene fast{.link_ms = 0.5};
  fast.send(choice, 1024);
  EXPECT_LT(fast.send(choice, 1024), 1.1 * 1024 * fast.link_ms);
}

// Small enough for the buffers between, and slow to unpack.
TEST(CodecChoice, WhatTheReceiverCannotKeepUpWithIsGivenUp) {
  const Scene scene{.link_ms = 1, .lz4_ms = 0.2, .lz4_size = 0.1, .zstd_ms = 0.3, .zstd_size = 0.05, .unpack_ms = 3};
  CodecChoice choice;
  EXPECT_LT(scene.send(choice, 4096), 1.1 * 4096 * scene.link_ms);
  EXPECT_EQ(choice.next(), wire::Codec::kNone);
}

TEST(CodecChoice, WhatTheUserWantsIsKept) {
  CodecChoice choice(wire::Codec::kZstd);
  Scene{.link_ms = 0.1}.send(choice, 1000);
  EXPECT_EQ(choice.next(), wire::Codec::kZstd);
}

}  // namespace
}  // namespace godwit
