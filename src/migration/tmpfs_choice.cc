#include "migration/tmpfs_choice.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/page.h"
#include "wire/frame.h"

namespace godwit {

namespace {

bool is_ordinary(const std::string& path) {
  return path.size() > 1 && path.size() < 1024 && path.front() == '/' &&
         std::ranges::all_of(
             path,
             [](char c) {
               return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("/._-").contains(c);
             });
}

// The mount that PATH's directory is on, if nothing covers it on the way.
const MountEntry* mount_above(const std::vector<MountEntry>& mounts, std::string path) {
  while (path.size() > 1) {
    path = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
    const MountEntry* found = nullptr;
    for (const MountEntry& mount : mounts) {
      if (mount.mountpoint != path) continue;
      if (found != nullptr) return nullptr;
      found = &mount;
    }
    if (found != nullptr) return found;
  }
  return nullptr;
}

bool is_visible(const std::vector<MountEntry>& mounts, const MountEntry& mount) {
  const MountEntry* at = &mount;
  while (at->mountpoint != "/") {
    const MountEntry* above = mount_above(mounts, at->mountpoint);
    if (above == nullptr || above->id != at->parent) return false;
    at = above;
  }
  return true;
}

// A look-up on the way to MOUNT that a process of the container might answer, or not.
bool is_behind_fuse(const std::vector<MountEntry>& mounts, const MountEntry& mount) {
  for (const MountEntry* at = &mount; at != nullptr; at = mount_above(mounts, at->mountpoint))
    if (at->type.starts_with("fuse")) return true;
  return false;
}

bool can_be_taken(const MountEntry& mount, const std::vector<MountEntry>& container,
                  const std::vector<MountEntry>& host, const std::vector<std::string>& binds) {
  const auto same_device = [&](const MountEntry& other) { return other.device == mount.device; };
  const auto same_whole = [&](const MountEntry& other) { return same_device(other) && other.root == "/"; };
  const auto same_place = [&](const MountEntry& other) { return other.mountpoint == mount.mountpoint; };
  return mount.root == "/" && !mount.propagates && is_ordinary(mount.mountpoint) &&
         std::ranges::count_if(container, same_whole) == 1 && std::ranges::count_if(container, same_place) == 1 &&
         std::ranges::none_of(host, same_device) && std::ranges::count(binds, mount.mountpoint) == 0 &&
         is_visible(container, mount) && !is_behind_fuse(container, mount);
}

std::string key(size_t number) { return fmt::format("godwit-tmpfs-{}", number); }

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 20 &&
         std::ranges::all_of(text, [](char c) { return std::isalnum(static_cast<unsigned char>(c)); });
}

}  // namespace

TmpfsChoice choose_tmpfs(const std::vector<MountEntry>& container, const std::vector<MountEntry>& host,
                         const std::vector<std::string>& binds) {
  TmpfsChoice choice;
  for (const MountEntry& mount : container) {
    if (mount.type != "tmpfs" || std::ranges::count(binds, mount.mountpoint) > 0) continue;
    if (choice.taken.size() < wire::kTmpfsMountsMax && can_be_taken(mount, container, host, binds)) {
      choice.taken.push_back(mount);
    } else if (mount.root == "/") {
      choice.left.push_back(mount.mountpoint);
    }
  }
  return choice;
}

bool share_mount_namespace(pid_t first, const std::vector<pid_t>& processes) {
  auto identity = [](pid_t pid) {
    struct stat facts{};
    const bool there = ::stat(fmt::format("/proc/{}/ns/mnt", pid).c_str(), &facts) == 0;
    return std::pair(there, facts.st_ino);
  };
  const auto own = identity(first);
  return own.first && std::ranges::all_of(processes, [&](pid_t pid) {
           const auto other = identity(pid);
           return !other.first || other == own;  // it has ended
         });
}

void declare_dumped_tmpfs(size_t number, const std::string& mountpoint, criu::Options& options) {
  options.add_external(fmt::format("mnt[{}]:{}", mountpoint, key(number)));
}

void declare_restored_tmpfs(size_t number, const std::string& path, criu::Options& options) {
  options.add_external(fmt::format("mnt[{}]:{}", key(number), path));
}

// Half of this host's memory in whole pages, which the kernel does not show. With size=50% it would round up.
std::string kernels_default_size() {
  return fmt::format("size={}", static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) / 2 * kPageBytes);
}

TmpfsOptions tmpfs_options(const std::string& text) {
  TmpfsOptions options;
  std::string size = kernels_default_size();
  auto add = [](std::string& list, std::string_view option) { list.append(list.empty() ? "" : ",").append(option); };
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string option = text.substr(at, end - at);
    at = end + 1;
    const size_t equals = std::min(option.find('='), option.size());
    const std::string name = option.substr(0, equals), value = option.substr(std::min(equals + 1, option.size()));
    options.read_only |= option == "ro";
    if (!is_number(value)) continue;
    if (name == "size") size = option;
    if (name == "nr_inodes") add(options.at_last, option);
    if (name == "mode" || name == "uid" || name == "gid") add(options.at_first, option);
  }
  add(options.at_last, size);
  return options;
}

}  // namespace godwit
