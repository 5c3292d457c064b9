#include "transport/gathered_frames.h"

#include <cstddef>

namespace godwit {

namespace {

constexpr size_t kGatheredMax = size_t{64} << 10;

}  // namespace

Result<> GatheredFrames::send(wire::FrameHeader header, std::string_view head, std::string_view payload) {
  header.length = static_cast<uint32_t>(head.size() + payload.size());
  char encoded[wire::kFrameHeaderBytes];
  wire::encode_frame_header(header, encoded);
  gathered_.append(encoded, sizeof encoded).append(head);
  if (payload.size() < kGatheredMax) {
    gathered_.append(payload);
    return gathered_.size() < kGatheredMax ? Result<>() : flush();
  }
  Result<> sent = connection_.send({gathered_, payload});
  gathered_.clear();
  return sent;
}

Result<> GatheredFrames::flush() {
  if (gathered_.empty()) return {};
  Result<> sent = connection_.send({gathered_});
  gathered_.clear();
  return sent;
}

}  // namespace godwit
