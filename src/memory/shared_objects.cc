#include "memory/shared_objects.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>
#include <limits>

#include "base/file.h"
#include "kernel/proc.h"
#include "wire/frame.h"

namespace godwit {

namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kMemfd = "/memfd:";
constexpr std::string_view kAnonymous = "/dev/zero (deleted)";
constexpr std::string_view kSysv = "/SYSV";

struct Facts {
  uint64_t device = 0, inode = 0, size = 0;
  bool regular = false;
};

// Without a question to whoever serves the file system, which may be a process of the container.
Result<Facts> facts_of(int file) {
  struct statx facts{};
  if (::statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO | STATX_SIZE, &facts) != 0)
    return fail_errno("statx");
  return Facts{makedev(facts.stx_dev_major, facts.stx_dev_minor), facts.stx_ino, facts.stx_size,
               S_ISREG(facts.stx_mode)};
}

std::string link_of(const ScopedFd& file) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", file.get()).c_str(), target, sizeof target);
  return length < 0 ? "" : std::string(target, static_cast<size_t>(length));
}

std::string name_of(const std::string& link) {
  std::string_view name = link;
  if (name.ends_with(kDeleted)) name.remove_suffix(kDeleted.size());
  if (name.starts_with(kMemfd)) name.remove_prefix(kMemfd.size());
  return std::string(name);
}

}  // namespace

Result<SharedObjectFinder> SharedObjectFinder::create() {
  const ScopedFd probe(::memfd_create("godwit", MFD_CLOEXEC));
  if (!probe) return fail_errno("memfd_create");
  TRY_ASSIGN(const Facts facts, facts_of(probe.get()));
  return SharedObjectFinder(facts.device);
}

bool SharedObjectFinder::is_object(const Mapping& mapping) const {
  return mapping.inode != 0 && mapping.device == device_ && !mapping.name.starts_with(kSysv);
}

SharedObjects SharedObjectFinder::find(const std::vector<pid_t>& processes, SharedObjects& known) const {
  SharedObjects found;
  for (auto& [inode, object] : known) object.open = false;
  for (const pid_t pid : processes) {
    const auto mappings = read_maps(pid);
    if (!mappings) continue;
    for (const Mapping& mapping : *mappings)
      if (is_object(mapping))
        take(fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.start.value, mapping.end.value), mapping.inode,
             known, found);
    const auto files = proc::open_files(pid);
    if (!files) continue;
    for (const proc::OpenFile& file : *files)
      if (file.link.starts_with(kMemfd) || file.link == kAnonymous)
        if (SharedObject* object = take(fmt::format("/proc/{}/fd/{}", pid, file.fd), 0, known, found))
          object->open = true;
  }
  return found;
}

// INODE may be 0: it is not known yet. nullptr: it is none, or is left out.
SharedObject* SharedObjectFinder::take(const std::string& path, uint64_t inode, SharedObjects& known,
                                       SharedObjects& found) const {
  const auto seen = [&](uint64_t number) -> SharedObject* {
    if (auto before = known.extract(number)) found.insert(std::move(before));
    const auto object = found.find(number);
    return object == found.end() ? nullptr : &object->second;
  };
  if (SharedObject* object = seen(inode)) return object;
  const ScopedFd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  const auto facts = place ? facts_of(place.get()) : Result<Facts>(fail_errno("open"));
  if (!facts || facts->device != device_ || !facts->regular) return nullptr;
  if (SharedObject* object = seen(facts->inode)) return object;
  // CRIU knows them by 32 bits of it.
  if (facts->inode > std::numeric_limits<uint32_t>::max() || facts->size < kSharedObjectBytesMin ||
      found.size() + known.size() >= kSharedObjectsMax)
    return nullptr;
  ScopedFd file(::open(fmt::format("/proc/self/fd/{}", place.get()).c_str(), O_RDONLY | O_NOATIME | O_CLOEXEC));
  if (!file) return nullptr;
  const std::string link = link_of(file);
  std::string name = name_of(link);
  if (link.starts_with(kSysv) || name.size() > wire::kObjectNameBytesMax) return nullptr;
  return &found.try_emplace(facts->inode, SharedObject{.file = std::move(file), .name = std::move(name)}).first->second;
}

}  // namespace godwit
