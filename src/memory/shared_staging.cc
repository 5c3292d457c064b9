#include "memory/shared_staging.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "memory/content_writing.h"
#include "memory/shared_objects.h"
#include "wire/frame.h"

namespace godwit {

// As CRIU would make it. What it seals it can also seal against more seals.
Result<> SharedStaging::object(uint64_t inode, std::string_view name) {
  if (applied_) return fail("a new object of shared memory behind the last one");
  if (name.size() > wire::kObjectNameBytesMax || name.contains('\0')) return fail("shared memory with an odd name");
  if (objects_.size() >= kSharedObjectsMax) return fail("too many objects of shared memory");
  ScopedFd file(::memfd_create(std::string(name).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return fail_errno("memfd_create");
  const std::lock_guard lock(mutex_);
  if (!objects_.try_emplace(inode, Object{.file = std::move(file)}).second)
    return fail("an object of shared memory that is there already");
  return {};
}

Result<> SharedStaging::object_gone(uint64_t inode) {
  const std::lock_guard lock(mutex_);
  if (applied_ || objects_.erase(inode) == 0) return fail("the end of shared memory that is not there");
  return {};
}

Result<SharedStaging::Object*> SharedStaging::find(uint64_t inode) {
  const auto found = objects_.find(inode);
  if (found == objects_.end()) return fail("content of shared memory that is not there");
  return &found->second;
}

Result<> SharedStaging::content(uint64_t inode, uint64_t offset, std::string_view pages) {
  if (!are_whole_pages(offset, pages.size())) return fail("content that is not whole pages");
  TRY_ASSIGN(const Object* object, find(inode));
  return write_content(object->file.get(), offset, pages, applied_ ? object->size : UINT64_MAX);
}

Result<> SharedStaging::zeros(uint64_t inode, uint64_t offset, uint64_t bytes) {
  if (!are_whole_pages(offset, bytes)) return fail("zeros that are not whole pages");
  TRY_ASSIGN(const Object* object, find(inode));
  return write_zeros(object->file.get(), offset, bytes);
}

Result<> SharedStaging::apply(const peer::SharedMemory& memory) {
  if (applied_) return fail("a second list of shared memory");
  const std::lock_guard lock(mutex_);
  std::set<uint64_t> named;
  for (const peer::SharedObject& entry : memory.objects()) {
    TRY_ASSIGN(Object * object, find(entry.inode()));
    if (!named.insert(entry.inode()).second) return fail("an object of shared memory that is named twice");
    if (entry.size() > wire::kImageBytesMax) return fail(fmt::format("shared memory of {} bytes", entry.size()));
    if (::ftruncate(object->file.get(), static_cast<off_t>(entry.size())) != 0)
      return fail_errno("setting the size of shared memory");
    object->size = entry.size();
  }
  std::erase_if(objects_, [&](const auto& object) { return !named.contains(object.first); });
  applied_ = true;
  return {};
}

uint64_t SharedStaging::used_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [inode, object] : objects_) {
    struct stat facts{};
    if (::fstat(object.file.get(), &facts) == 0) bytes += static_cast<uint64_t>(facts.st_blocks) * 512;
  }
  return bytes;
}

// A descriptor of the same open file: CRIU may have to give the container the one that the object was made with.
std::optional<ScopedFd> SharedStaging::take(uint64_t inode) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(inode);
  if (!applied_ || found == objects_.end()) return std::nullopt;
  ScopedFd copy(::fcntl(found->second.file.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return std::nullopt;
  found->second.taken = true;
  return copy;
}

std::vector<uint64_t> SharedStaging::untaken() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> list;
  for (const auto& [inode, object] : objects_)
    if (!object.taken) list.push_back(inode);
  return list;
}

void SharedStaging::let_go() {
  const std::lock_guard lock(mutex_);
  objects_.clear();
}

}  // namespace godwit
