#include "kernel/proc.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>
#include <sstream>

#include "base/file.h"
#include "base/page.h"

namespace godwit::proc {

namespace fs = std::filesystem;

namespace {

// Bounds against a container that makes /proc text long: more than any real one needs.
constexpr size_t kProcesses = 65536;
constexpr size_t kOpenFiles = 1 << 20;

fs::path of(pid_t pid) { return fs::path("/proc") / std::to_string(pid); }

uint64_t number(std::string_view text, int base = 10) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

// The value of the first line that starts with KEY and a colon.
std::string field(const std::string& text, std::string_view key) {
  for (const std::string& line : split_lines(text)) {
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':')
      return trimmed(std::string_view(line).substr(key.size() + 1));
  }
  return "";
}

}  // namespace

Result<std::vector<pid_t>> processes_in_cgroup(const fs::path& directory) {
  std::vector<pid_t> pids;
  std::vector<fs::path> pending = {directory};
  while (!pending.empty()) {
    const fs::path current = pending.back();
    pending.pop_back();
    auto text = read_file(current / "cgroup.procs");
    if (!text && current == directory) return fail(std::move(text.error()));
    if (!text) continue;  // a nested cgroup that has just been removed
    for (const std::string& line : split_lines(*text))
      if (pid_t pid = static_cast<pid_t>(number(line)); pid > 0) pids.push_back(pid);
    if (pids.size() > kProcesses) return fail("more than 65536 processes in the container");
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(current, error))
      if (entry.is_directory(error) && !entry.is_symlink(error)) pending.push_back(entry.path());
  }
  return pids;
}

Result<std::vector<OpenFile>> open_files(pid_t pid) {
  std::vector<OpenFile> files;
  std::error_code error;
  fs::directory_iterator entries(of(pid) / "fd", error);
  if (error) return fail_errno("/proc/" + std::to_string(pid) + "/fd", error.value());
  for (const auto& entry : entries) {
    fs::path link = fs::read_symlink(entry.path(), error);
    if (error) continue;  // closed meanwhile
    files.push_back({static_cast<int>(number(entry.path().filename().string())), link.string()});
    if (files.size() > kOpenFiles) return fail("more than 1048576 open files");
  }
  return files;
}

Result<FdInfo> fd_info(pid_t pid, int fd) {
  TRY_ASSIGN(std::string text, read_file(of(pid) / "fdinfo" / std::to_string(fd), 1 << 20));
  FdInfo info;
  info.position = number(field(text, "pos"));
  info.flags = static_cast<uint32_t>(number(field(text, "flags"), 8));
  info.mount_id = static_cast<int>(number(field(text, "mnt_id")));
  info.inode = number(field(text, "ino"));
  info.in_flight = static_cast<uint32_t>(number(field(text, "scm_fds")));
  if (info.inode == 0) {  // kernels before 5.14 do not tell
    struct stat facts{};
    const std::string path = (of(pid) / "fd" / std::to_string(fd)).string();
    if (::stat(path.c_str(), &facts) != 0) return fail_errno(path);
    info.inode = facts.st_ino;
  }
  return info;
}

Result<Status> status(pid_t pid) {
  TRY_ASSIGN(std::string text, read_file(of(pid) / "status", 1 << 16));
  Status value;
  value.name = field(text, "Name");
  const std::string state = field(text, "State");
  value.state = state.empty() ? '?' : state[0];
  value.tracer = static_cast<pid_t>(number(field(text, "TracerPid")));
  value.unshared_bytes = (number(field(text, "RssAnon")) + number(field(text, "RssShmem"))) * 1024;
  return value;
}

Result<std::vector<uint32_t>> namespace_pids(pid_t pid, pid_t thread) {
  TRY_ASSIGN(const std::string text, read_file(of(pid) / "task" / std::to_string(thread) / "status", 1 << 16));
  std::istringstream fields(field(text, "NSpid"));
  std::vector<uint32_t> pids;
  for (uint32_t number; fields >> number;) pids.push_back(number);
  if (pids.empty()) return fail("odd NSpid");
  return pids;
}

Result<pid_t> innermost_pid(pid_t pid) {
  TRY_ASSIGN(const auto pids, namespace_pids(pid, pid));
  return static_cast<pid_t>(pids.back());
}

// Line: "start-end perms offset dev inode   path"; the path is all from the sixth field on.
Result<std::vector<std::string>> mapped_files(pid_t pid) {
  TRY_ASSIGN(std::string text, read_file(of(pid) / "maps", size_t{64} << 20));
  std::set<std::string> paths;
  for (const std::string& line : split_lines(text)) {
    std::istringstream fields(line);
    std::string range, permissions, offset, device, inode;
    fields >> range >> permissions >> offset >> device >> inode;
    if (inode == "0" || permissions.size() < 4 || permissions[3] != 'p') continue;
    std::string path;
    std::getline(fields >> std::ws, path);
    if (path.starts_with('/') && !path.ends_with(" (deleted)")) paths.insert(path);
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

uint64_t meminfo_bytes(const std::string& key) {
  auto text = read_file("/proc/meminfo", 1 << 16);
  return text ? number(field(*text, key)) * 1024 : 0;
}

uint64_t tcp_queue_bytes_max() {
  auto text = read_file("/proc/sys/net/ipv4/tcp_mem");
  if (!text) return meminfo_bytes("MemTotal") / 8;
  std::istringstream words(*text);
  uint64_t low = 0, pressure = 0, high = 0;
  words >> low >> pressure >> high;
  return high * kPageBytes;
}

std::vector<std::string> cpu_flags() {
  auto text = read_file("/proc/cpuinfo");
  if (!text) return {};
  for (const std::string& line : split_lines(*text)) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    std::vector<std::string> flags(std::istream_iterator<std::string>(words), {});
    std::ranges::sort(flags);
    return flags;
  }
  return {};
}

}  // namespace godwit::proc
