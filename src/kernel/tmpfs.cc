#include "kernel/tmpfs.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

namespace godwit {

namespace fs = std::filesystem;

Result<bool> is_on_tmpfs(const fs::path& path) {
  struct statfs facts{};
  if (::statfs(path.c_str(), &facts) != 0) return fail_errno("statfs " + path.string());
  return facts.f_type == TMPFS_MAGIC || facts.f_type == RAMFS_MAGIC;
}

Result<ScopedTmpfs> ScopedTmpfs::mount(fs::path path, uint64_t bytes_max) {
  TRY(make_directories(path));
  const std::string options = "mode=0700,size=" + std::to_string(bytes_max);
  if (::mount("godwit", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) != 0) {
    auto error = fail_errno("mount a tmpfs on " + path.string());
    ::rmdir(path.c_str());
    return error;
  }
  // Private: the mount must not spread into container or peer namespaces, where it would keep the memory.
  (void)::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr);
  return ScopedTmpfs(std::move(path));
}

ScopedTmpfs::~ScopedTmpfs() {
  if (path_.empty()) return;
  if (::umount2(path_.c_str(), MNT_DETACH) != 0) log::warn("unmount {}: errno {}", path_.string(), errno);
  ::rmdir(path_.c_str());
}

uint64_t ScopedTmpfs::used_bytes() const {
  struct statfs facts{};
  if (::statfs(path_.c_str(), &facts) != 0) return 0;
  return static_cast<uint64_t>(facts.f_blocks - facts.f_bfree) * static_cast<uint64_t>(facts.f_bsize);
}

}  // namespace godwit
