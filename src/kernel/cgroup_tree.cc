#include "kernel/cgroup_tree.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/file.h"
#include "kernel/proc.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

// No hierarchy of version 1 reports that a cgroup has become empty.
constexpr timespec kPollInterval = {0, 1'000'000};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Key of a hierarchy: "" for version 2, else one entry for each controller and "name=…".
std::map<std::string, fs::path, std::less<>> hierarchies(const std::vector<MountEntry>& mounts) {
  std::map<std::string, fs::path, std::less<>> found;
  for (const MountEntry& mount : mounts) {
    if (mount.type == "cgroup2") found.emplace("", mount.mountpoint);
    if (mount.type != "cgroup") continue;
    for (std::string_view option : split(mount.super_options, ',')) found.emplace(option, mount.mountpoint);
  }
  return found;
}

void kill_all(const fs::path& directory) {
  auto processes = proc::processes_in_cgroup(directory);
  if (!processes) return;
  for (pid_t pid : *processes) ::kill(pid, SIGKILL);
}

void remove_directories(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> below;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (entry.is_directory(error)) below.push_back(entry.path());
  for (const fs::path& path : below) remove_directories(path);
  fs::remove(directory, error);
}

}  // namespace

std::vector<fs::path> parse_cgroup_directories(std::string_view cgroup, const std::vector<MountEntry>& mounts) {
  const auto found = hierarchies(mounts);
  std::vector<fs::path> directories;
  for (std::string_view line : split(cgroup, '\n')) {  // 4:cpu,cpuacct:/path
    const auto fields = split(line, ':');
    if (fields.size() < 3) continue;
    const auto hierarchy = found.find(split(fields[1], ',')[0]);
    const std::string_view path = line.substr(fields[0].size() + fields[1].size() + 2);
    if (hierarchy != found.end()) directories.push_back(hierarchy->second / fs::path(path).relative_path());
  }
  return directories;
}

Result<std::vector<fs::path>> cgroup_directories(pid_t pid) {
  TRY_ASSIGN(std::string cgroup, read_file(fs::path("/proc") / std::to_string(pid) / "cgroup"));
  TRY_ASSIGN(const auto mounts, read_mounts(::getpid()));
  return parse_cgroup_directories(cgroup, mounts);
}

Result<> remove_cgroup(const fs::path& directory, Deadline deadline) {
  std::error_code error;
  for (;;) {
    kill_all(directory);
    remove_directories(directory);
    if (!fs::exists(directory, error)) return {};
    if (Clock::now() > deadline) return fail("processes in " + directory.string() + " do not end");
    ::nanosleep(&kPollInterval, nullptr);
  }
}

}  // namespace godwit
