// Unix sockets with descriptor passing: how the agent speaks with the helper programs it starts.
#pragma once

#include <sys/time.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

struct Packet {
  std::string bytes;
  std::vector<ScopedFd> fds;  // passed with SCM_RIGHTS, ours now
};

inline constexpr size_t kPacketBytesMax = size_t{1} << 20;
inline constexpr size_t kPacketFdsMax = 16;

// Listens at PATH (mode 0600), which must not exist. TYPE is SOCK_SEQPACKET or SOCK_STREAM.
Result<ScopedFd> listen_unix(const std::filesystem::path& path, int type);
// Where that was, for one who has got LISTENER from another.
Result<std::filesystem::path> bound_path(int listener);
// Connects to who listens at PATH. SENDS_WITHIN: neither this nor a later send takes longer.
Result<ScopedFd> connect_unix(const std::filesystem::path& path, int type,
                              std::optional<timeval> sends_within = std::nullopt);
// Sends one packet; FDS are borrowed.
Result<> send_packet(int socket, std::string_view bytes, const std::vector<int>& fds = {});
// Receives one packet. A closed peer is an error with code ECONNRESET; a packet too long, EMSGSIZE.
Result<Packet> receive_packet(int socket, size_t bytes_max = kPacketBytesMax);

}  // namespace godwit
