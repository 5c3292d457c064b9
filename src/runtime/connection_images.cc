#include "runtime/connection_images.h"

#include <fmt/format.h>

#include "base/file.h"
#include "runtime/helpers/connection_pack.h"

namespace godwit {

namespace {

constexpr size_t kPackBytesMax = size_t{4} << 30;
constexpr mode_t kImageMode = 0644;  // in a user namespace, whoever restores sockets is not the host's root

}  // namespace

Result<uint64_t> connection_pack_bytes(std::string_view pack) {
  uint64_t used = 0;
  if (pack.size() < godwit_pack::kPackHeaderBytes) return fail("the pack of connections is cut short");
  std::memcpy(&used, pack.data() + godwit_pack::kPackMagicBytes, sizeof used);
  if (used > kPackBytesMax) return fail("the pack of connections has an odd size");
  return godwit_pack::kPackHeaderBytes + used;
}

std::string connection_image_name(uint32_t number) { return fmt::format("tcp-stream-{:x}.img", number); }

Result<> unpack_connections(const std::filesystem::path& images) {
  TRY(unpack_connections(images, [](uint32_t) { return true; }));
  std::error_code error;
  std::filesystem::remove(images / godwit_pack::kPackName, error);
  return {};
}

Result<> unpack_connections(const std::filesystem::path& images, const std::function<bool(uint32_t number)>& wanted) {
  const auto path = images / godwit_pack::kPackName;
  if (!std::filesystem::exists(path)) return {};
  TRY_ASSIGN(const std::string pack, read_file(path, kPackBytesMax));
  size_t count = 0;
  const std::unique_ptr<godwit_pack::Record, decltype(&::free)> records(
      godwit_pack::sorted_records(pack.data(), pack.size(), &count), &::free);
  if (!records) return fail("the pack of connections cannot be read");
  std::string rest;
  for (size_t i = 0; i < count; ++i) {
    const godwit_pack::Record& record = records.get()[i];
    const auto image = std::string_view(pack).substr(record.offset, record.length);
    if (wanted(record.id)) {
      TRY(write_file(images / connection_image_name(record.id), image, kImageMode));
    } else {
      rest.append(std::string_view(pack).substr(record.offset - godwit_pack::kRecordHeaderBytes,
                                                godwit_pack::kRecordHeaderBytes + record.length));
    }
  }
  const uint64_t used = rest.size();
  std::string left(godwit_pack::kPackMagic, godwit_pack::kPackMagicBytes);
  left.append(reinterpret_cast<const char*>(&used), sizeof used).append(rest);
  return write_file(path, left);
}

}  // namespace godwit
