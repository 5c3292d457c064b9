// The formats of the data connections, and of the pack that travels among CRIU's images.
#include <memory>
#include <vector>

#include "runtime/helpers/connection_pack.h"
#include "target.h"
#include "transport/page_codec.h"
#include "transport/socket.h"
#include "wire/frame.h"
#include "wire/hello.h"
#include "wire/page_runs.h"
#include "wire/preamble.h"

using namespace godwit;
using fuzz::require;

GODWIT_FUZZ_TARGET(frame_header) {
  auto header = wire::decode_frame_header(input);
  if (!header) return;
  std::string again(wire::kFrameHeaderBytes, '\0');
  wire::encode_frame_header(*header, again.data());
  require(again == input, "a header is what it was decoded from");
  require(header->length <= wire::kPagesPayloadMax, "a payload can be allocated");
  require(header->offset <= wire::kImageBytesMax && header->index <= wire::kSpaceIdMax, "fields are bounded");
}

GODWIT_FUZZ_TARGET(page_runs) {
  auto runs = wire::decode_page_runs(input, static_cast<uint32_t>(input.size() / wire::kRunBytes));
  if (!runs) return;
  std::string again;
  wire::encode_page_runs(*runs, again);
  require(again == input, "runs are what they were decoded from");
  require(wire::content_pages(*runs) <= wire::kPagesPerFrame, "contents are bounded");
  for (const wire::PageRun& run : *runs) {
    require(run.range.pages > 0 && run.range.pages <= kRegionPages, "a run has pages");
    require((run.range.end() + (uint64_t(0) - 1)).region() == run.range.start.region(), "a run is of one region");
  }
}

GODWIT_FUZZ_TARGET(hello) {
  if (auto hello = wire::decode_hello(input); hello && hello->version_major == wire::kDataVersionMajor) {
    auto again = wire::encode_hello(*hello);
    require(again.has_value(), "what was accepted can be said");
    require(wire::decode_hello(*again).has_value(), "and accepted again");
  }
  if (auto ack = wire::decode_hello_ack(input))
    require(wire::decode_hello_ack(wire::encode_hello_ack(*ack)).has_value(), "an answer is accepted again");
}

GODWIT_FUZZ_TARGET(preamble) {
  auto preamble = wire::decode_preamble(input);
  if (!preamble || preamble->version_major != wire::kDataVersionMajor) return;
  auto again = wire::encode_preamble(*preamble);
  require(again.has_value(), "what was accepted can be said");
  require(again->substr(0, 14) == input.substr(0, 14) && again->substr(16) == input.substr(16), "and is the same");
}

GODWIT_FUZZ_TARGET(image_name) {
  if (!wire::check_image_name(input)) return;
  require(input.find('/') == std::string_view::npos && input != "." && input != "..", "a name is one component");
  require(input.find('\0') == std::string_view::npos && !input.empty(), "a name is a file's");
}

GODWIT_FUZZ_TARGET(host_port) {
  if (auto parsed = parse_host_port(input)) {
    require(!parsed->port.empty(), "a port is a number");
    for (char c : parsed->port) require(c >= '0' && c <= '9', "a port is a number");
  }
}

// The first byte says how it is packed, the second how many pages it should be.
GODWIT_FUZZ_TARGET(packed_pages) {
  fuzz::Cutter cut(input);
  const auto codec = cut.byte() % 2 == 0 ? wire::Codec::kLz4 : wire::Codec::kZstd;
  std::vector<std::byte> pages((1 + cut.byte() % 8) * kPageBytes);
  (void)unpack(codec, cut.rest(), pages);
  // The way back.
  std::string packed;
  if (cut.rest().empty() || !pack(codec, std::vector{cut.rest()}, cut.rest().size(), packed)) return;
  std::vector<std::byte> out(cut.rest().size());
  require(unpack(codec, packed, out).has_value(), "what is packed can be unpacked");
  require(std::string_view(reinterpret_cast<char*>(out.data()), out.size()) == cut.rest(), "and is the same");
}

GODWIT_FUZZ_TARGET(connection_pack) {
  const std::vector<char> bytes(input.begin(), input.end());  // its end is the end of memory, for the sanitizer
  size_t count = 0;
  const std::unique_ptr<godwit_pack::Record, decltype(&::free)> records(
      godwit_pack::sorted_records(bytes.data(), bytes.size(), &count), &::free);
  if (!records) return;
  for (size_t i = 0; i < count; ++i) {
    const godwit_pack::Record& record = records.get()[i];
    require(record.offset <= bytes.size() && record.length <= bytes.size() - record.offset, "a record is in the file");
    require(record.length <= godwit_pack::kPackedBytesMax, "a record is small");
    require(i == 0 || records.get()[i - 1].id < record.id, "records are sorted, each once");
  }
}
