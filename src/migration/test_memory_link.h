// For tests: the memory connections of a migration over loopback, the peer's ends in the test's hands.
#pragma once

#include <map>

#include "transport/test_data_link.h"
#include "wire/page_runs.h"

namespace godwit {

class MemoryLink {
 public:
  // Connection CHANNEL: our end, as the source has it, and the target's.
  struct Ends {
    std::unique_ptr<DataConnection> source;
    std::unique_ptr<DataConnection> target;
  };
  Ends connect(uint16_t channel) {
    wire::Hello hello = test_hello();
    hello.channel = channel;
    Ends ends;
    ends.source = must(target_.connect(hello));
    ends.target = target_.arrived();
    return ends;
  }

 private:
  TestTarget target_;
};

struct Frame {
  wire::FrameHeader header;
  std::string payload;
};

// Pages of SPACE; VALUE 0: zeros.
inline Frame pages_frame(SpaceId space, const PageRanges& ranges, char value = 'x') {
  std::vector<wire::PageRun> runs;
  for (const PageRange& range : ranges) runs.push_back({range, value == 0});
  Frame frame{{.type = wire::FrameType::kPages, .index = space, .count = static_cast<uint32_t>(runs.size())}, {}};
  wire::encode_page_runs(runs, frame.payload);
  frame.payload.append(wire::content_pages(runs) * kPageBytes, value);
  return frame;
}

inline Frame plain_frame(wire::FrameType type, uint32_t index = 0, std::string payload = {}) {
  return {{.type = type, .index = index}, std::move(payload)};
}

inline void send(DataConnection& connection, const Frame& frame) {
  // In one piece and as it is: send_frame would not send what is longer than it may be.
  char header[wire::kFrameHeaderBytes];
  wire::FrameHeader with_length = frame.header;
  with_length.length = static_cast<uint32_t>(frame.payload.size());
  wire::encode_frame_header(with_length, header);
  (void)connection.send({{header, sizeof header}, frame.payload});
}

}  // namespace godwit
