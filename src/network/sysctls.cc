#include "network/sysctls.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/file.h"
#include "network/validate.h"

namespace godwit::network {
namespace {

constexpr char kRoot[] = "/proc/sys/net";
constexpr int kDepthMax = 6;
// Setting one changes others (forwarding resets a link's router behaviour; "all" sets every link),
// so values are compared again after a pass.
constexpr int kPassesMax = 3;

Result<ScopedFd> open_root() { return open_file(kRoot, O_PATH | O_DIRECTORY); }

// Opens PATH below the root and nowhere else, whatever PATH says.
Result<ScopedFd> open_below(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  ScopedFd fd(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
  if (!fd) return fail_errno("net/" + path);
  return fd;
}

// Empty if it cannot be read or is longer than what is carried.
std::string read_value(int fd) {
  char buffer[kSysctlValueBytesMax + 2];
  ssize_t bytes = read(fd, buffer, sizeof(buffer));
  if (bytes <= 0) return {};
  std::string value(buffer, static_cast<size_t>(bytes));
  if (value.back() == '\n') value.pop_back();
  return is_allowed_sysctl_value(value) ? value : std::string();
}

void read_one(int root, const std::string& path, peer::NetworkState& state) {
  auto fd = open_below(root, path, O_RDONLY);
  struct stat file{};
  if (!fd || fstat(fd->get(), &file) != 0) return;
  // The mode tells what root of this namespace may write; what belongs to the machine is read-only
  // here.
  if ((file.st_mode & (S_IRUSR | S_IWUSR)) != (S_IRUSR | S_IWUSR)) return;
  std::string value = read_value(fd->get());
  if (value.empty()) return;
  peer::Sysctl& sysctl = *state.add_sysctls();
  sysctl.set_path(path);
  sysctl.set_value(value);
}

void read_directory(int root, const std::string& path, int depth, peer::NetworkState& state) {
  auto fd = open_below(root, path, O_RDONLY | O_DIRECTORY);
  if (!fd || depth == 0) return;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd->get()), closedir);
  if (!directory) return;
  (void)fd->release();  // closedir closes it
  while (const dirent* entry = readdir(directory.get())) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string below = path == "." ? "" : path + "/";
    below += name;
    if (entry->d_type == DT_DIR)
      read_directory(root, below, depth - 1, state);
    else if (is_allowed_sysctl(below))
      read_one(root, below, state);
  }
}

// Those that tell the kernel how to invent link-local addresses; setting one makes it do so at
// once.
bool invents_addresses(const std::string& path) {
  return path.ends_with("/addr_gen_mode") || path.ends_with("/stable_secret");
}

Result<bool> differs(int root, const peer::Sysctl& sysctl) {
  TRY_ASSIGN(ScopedFd fd, open_below(root, sysctl.path(), O_RDONLY));
  return read_value(fd.get()) != sysctl.value();
}

Result<> write_one(int root, const peer::Sysctl& sysctl) {
  TRY_ASSIGN(ScopedFd fd, open_below(root, sysctl.path(), O_WRONLY));
  if (write(fd.get(), sysctl.value().data(), sysctl.value().size()) < 0) return fail_errno("net/" + sysctl.path());
  return {};
}

// Makes SYSCTL's value so if it is not. False: nothing had to be done.
Result<bool> settle(int root, const peer::Sysctl& sysctl) {
  TRY_ASSIGN(bool different, differs(root, sysctl));
  if (different) TRY(write_one(root, sysctl));
  return different;
}

struct Refusal {
  std::string path;
  Error error;
};

// One note for all of a directory that are missing, as they are without the kernel module that they belong to.
void note(const std::vector<Refusal>& refusals, std::vector<std::string>& notes) {
  std::map<std::string, std::vector<const Refusal*>> missing;  // by directory
  for (const Refusal& refusal : refusals) {
    if (refusal.error.code() == ENOENT)
      missing[refusal.path.substr(0, refusal.path.rfind('/'))].push_back(&refusal);
    else
      notes.push_back("sysctl " + refusal.error.text());
  }
  for (const auto& [directory, each] : missing) {
    if (each.size() == 1)
      notes.push_back("sysctl " + each[0]->error.text());
    else
      notes.push_back(
          fmt::format("{} sysctls in net/{} are not there: is a kernel module missing?", each.size(), directory));
  }
}

}  // namespace

Result<> read_sysctls(peer::NetworkState& state) {
  TRY_ASSIGN(ScopedFd root, open_root());
  read_directory(root.get(), ".", kDepthMax, state);
  auto& sysctls = *state.mutable_sysctls();
  std::sort(sysctls.begin(), sysctls.end(), [](const auto& a, const auto& b) { return a.path() < b.path(); });
  return {};
}

Result<> write_sysctls(const peer::NetworkState& state, bool while_down, std::vector<std::string>& notes) {
  TRY_ASSIGN(ScopedFd root, open_root());
  std::vector<const peer::Sysctl*> pending;
  for (const peer::Sysctl& sysctl : state.sysctls())
    if (!while_down || !invents_addresses(sysctl.path())) pending.push_back(&sysctl);
  std::vector<Refusal> refusals;
  // What is still wrong after the one pass while down, the later call sees.
  for (int pass = 0; pass < (while_down ? 1 : kPassesMax); ++pass) {
    bool changed = false;
    refusals.clear();
    for (const peer::Sysctl* sysctl : pending) {
      auto settled = settle(root.get(), *sysctl);
      if (!settled) refusals.push_back({sysctl->path(), settled.error()});
      changed |= settled.value_or(false);
    }
    if (!changed) break;
  }
  if (!while_down) note(refusals, notes);
  return {};
}

}  // namespace godwit::network
