// Small whole-file reads and writes, bounded, as Results.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

inline constexpr size_t kFileBytesMax = size_t{16} << 20;

// The whole content of PATH; an error if it is longer than BYTES_MAX.
Result<std::string> read_file(const std::filesystem::path& path, size_t bytes_max = kFileBytesMax);
Result<std::string> read_fd(int fd, size_t bytes_max = kFileBytesMax);

// Opens with O_CLOEXEC added to FLAGS.
Result<ScopedFd> open_file(const std::filesystem::path& path, int flags, mode_t mode = 0600);

// Creates or truncates PATH.
Result<> write_file(const std::filesystem::path& path, std::string_view content, mode_t mode = 0600);

// Writes into an existing file (a sysctl, a cgroup attribute) in one write(2).
Result<> write_attribute(const std::filesystem::path& path, std::string_view value);

// Writes all of DATA, going on after short writes and EINTR.
Result<> write_all(int fd, std::string_view data);

// As mkdir -p.
Result<> make_directories(const std::filesystem::path& path, mode_t mode = 0700);

std::vector<std::string> split_lines(std::string_view text);
std::string trimmed(std::string_view text);

}  // namespace godwit
