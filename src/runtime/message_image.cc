#include "runtime/message_image.h"

#include <cstdint>

#include "base/file.h"

namespace godwit {

namespace {

constexpr size_t kMagicBytes = 8, kLengthBytes = sizeof(uint32_t);

}  // namespace

Result<MessageImage> MessageImage::read(const std::filesystem::path& path, size_t bytes_max,
                                        google::protobuf::MessageLite& message) {
  const auto read = read_file(path, bytes_max);
  if (!read) return std::unexpected(read.error());
  const std::string& bytes = *read;
  const auto odd = [&] { return fail(path.filename().string() + " is not as CRIU writes it"); };
  constexpr size_t kBegin = kMagicBytes + kLengthBytes;
  if (bytes.size() < kBegin) return odd();
  uint32_t length = 0;
  bytes.copy(reinterpret_cast<char*>(&length), sizeof length, kMagicBytes);
  if (length > bytes.size() - kBegin || !message.ParseFromArray(bytes.data() + kBegin, static_cast<int>(length)))
    return odd();
  return MessageImage{.path = path, .magic = bytes.substr(0, kMagicBytes), .data = bytes.substr(kBegin + length)};
}

Result<> MessageImage::write(const google::protobuf::MessageLite& message) const {
  const std::string text = message.SerializePartialAsString();
  const auto length = static_cast<uint32_t>(text.size());
  std::string bytes = magic;
  bytes.append(reinterpret_cast<const char*>(&length), sizeof length).append(text).append(data);
  return write_file(path, bytes);
}

}  // namespace godwit
