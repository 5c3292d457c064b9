// One of CRIU's images that hold one message, to be edited: two magic numbers, of images and of the kind, the message's
// length, the message, and with some kinds data.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace godwit {

struct MessageImage {
  std::filesystem::path path;
  std::string magic;
  std::string data;  // behind the message

  // Reads MESSAGE as well. What is in the file, of at most BYTES_MAX, may be anything.
  static Result<MessageImage> read(const std::filesystem::path& path, size_t bytes_max,
                                   google::protobuf::MessageLite& message);
  Result<> write(const google::protobuf::MessageLite& message) const;
};

}  // namespace godwit
