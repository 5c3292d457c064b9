// Frames of one data connection, small ones sent together: a system call and a wake-up of the peer for each frame of a
// few hundred bytes would take longer than the bytes do.
//
// For one thread. What has been gathered is lost if it is not flushed.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "transport/data_connection.h"
#include "wire/frame.h"

namespace godwit {

class GatheredFrames {
 public:
  // Borrowed.
  explicit GatheredFrames(DataConnection& connection) : connection_(connection) {}

  // A frame of HEAD and, behind it, PAYLOAD; the header's length is set here. Errors are the connection's, perhaps for
  // frames before this one.
  Result<> send(wire::FrameHeader header, std::string_view head, std::string_view payload);
  Result<> flush();

 private:
  DataConnection& connection_;
  std::string gathered_;
};

}  // namespace godwit
