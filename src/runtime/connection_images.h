// The pack of TCP connections among CRIU's images (helpers/connection_pack.h), as the agents see it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

// How much of the file there is to send: behind the records is room. PACK: its beginning.
Result<uint64_t> connection_pack_bytes(std::string_view pack);

// Makes the file of each connection that CRIU would have made and removes the pack; fine if there is none. For a CRIU
// that cannot be preloaded. What is in the directory comes from a peer.
Result<> unpack_connections(const std::filesystem::path& images);

// Only those that WANTED says: the others stay in the pack.
Result<> unpack_connections(const std::filesystem::path& images, const std::function<bool(uint32_t number)>& wanted);

// NUMBER: the inode of the connection's socket on the source.
std::string connection_image_name(uint32_t number);

}  // namespace godwit
