#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

namespace godwit {

namespace fs = std::filesystem;

Result<ScopedFd> open_file(const fs::path& path, int flags, mode_t mode) {
  int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return fail_errno("open " + path.string());
  return ScopedFd(fd);
}

Result<std::string> read_fd(int fd, size_t bytes_max) {
  std::string content;
  char buffer[65536];
  for (;;) {
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read");
    if (got == 0) return content;
    if (content.size() + static_cast<size_t>(got) > bytes_max)
      return fail("longer than " + std::to_string(bytes_max) + " bytes");
    content.append(buffer, static_cast<size_t>(got));
  }
}

Result<std::string> read_file(const fs::path& path, size_t bytes_max) {
  TRY_ASSIGN(ScopedFd fd, open_file(path, O_RDONLY));
  auto content = read_fd(fd.get(), bytes_max);
  if (!content) return fail(std::move(content.error()).during(path.string()));
  return content;
}

Result<> write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("write");
    data.remove_prefix(static_cast<size_t>(put));
  }
  return {};
}

Result<> write_file(const fs::path& path, std::string_view content, mode_t mode) {
  TRY_ASSIGN(ScopedFd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  TRY_DOING(path.string(), write_all(fd.get(), content));
  return {};
}

Result<> write_attribute(const fs::path& path, std::string_view value) {
  TRY_ASSIGN(ScopedFd fd, open_file(path, O_WRONLY));
  if (::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return fail_errno("write " + path.string());
  return {};
}

Result<> make_directories(const fs::path& path, mode_t mode) {
  std::error_code error;
  if (fs::is_directory(path, error)) return {};
  if (path.has_parent_path() && path.parent_path() != path) TRY(make_directories(path.parent_path(), mode));
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return fail_errno("mkdir " + path.string());
  return {};
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

}  // namespace godwit
