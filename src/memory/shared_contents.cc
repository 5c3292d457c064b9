#include "memory/shared_contents.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/page.h"

namespace godwit {

namespace {

Result<uint64_t> size_of(const ScopedFd& file) {
  struct stat facts{};
  if (::fstat(file.get(), &facts) != 0) return fail_errno("fstat of shared memory");
  return static_cast<uint64_t>(facts.st_size);
}

int seals_of(const ScopedFd& file) { return std::max(::fcntl(file.get(), F_GET_SEALS), 0); }

// Against new writers; what is mapped for writing already may still be written.
bool is_sealed(const ScopedFd& file) { return (seals_of(file) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0; }

// And against being cut and made longer again.
bool is_closed_to_descriptors(const ScopedFd& file) { return is_sealed(file) && (seals_of(file) & F_SEAL_SHRINK) != 0; }

bool is_frozen(const ScopedFd& file) {
  return (seals_of(file) & (F_SEAL_WRITE | F_SEAL_SHRINK)) == (F_SEAL_WRITE | F_SEAL_SHRINK);
}

// Nobody has a descriptor of shared anonymous memory; CRIU makes memfds of this name of it.
bool has_no_descriptor(const SharedObject& object) { return object.name == "/dev/zero" && !object.open; }

}  // namespace

Result<std::unique_ptr<SharedContents>> SharedContents::create() {
  TRY_ASSIGN(SharedObjectFinder finder, SharedObjectFinder::create());
  return std::unique_ptr<SharedContents>(new SharedContents(finder));
}

void SharedContents::find(const std::vector<pid_t>& processes) { objects_ = finder_.find(processes, objects_); }

Result<> SharedContents::send_changes(SharedSink& sink, const MappedLook& mapped) {
  TRY(send_news(sink));
  for (const auto& [inode, object] : objects_) TRY(send_object(inode, mapped, sink));
  return {};
}

Result<> SharedContents::send_news(SharedSink& sink) {
  for (auto known = sent_.begin(); known != sent_.end();) {
    if (!objects_.contains(known->first)) {
      TRY(sink.object_gone(known->first));
      known = sent_.erase(known);
    } else {
      ++known;
    }
  }
  for (const auto& [inode, object] : objects_)
    if (sent_.try_emplace(inode).second) TRY(sink.object(inode, object.name));
  return {};
}

Result<> SharedContents::send_object(uint64_t inode, const MappedLook& mapped, SharedSink& sink) {
  const SharedObject& object = objects_.at(inode);
  Sent& sent = sent_.at(inode);
  if (sent.frozen) return {};
  const bool frozen = is_frozen(object.file);  // before it is read
  TRY_ASSIGN(const uint64_t size, size_of(object.file));
  const MappedWrites* const written = mapped.of({finder_.device(), inode});
  const bool by_maps = has_no_descriptor(object) || is_closed_to_descriptors(object.file);
  const bool in_part = sent.whole && sent.by_maps && sent.size == size && (!written || !written->all);
  ContentCopy copy(key_, object.file.get(), inode, sent.pages, sink);
  sent.frozen = frozen;
  sent.by_maps = by_maps;
  sent.whole = true;
  sent.size = size;
  if (!in_part) return copy.whole(size);
  if (written)
    for (const PageRange& pages : written->pages) TRY(copy.some(pages.start.value / kPageBytes, pages.pages, size));
  return {};
}

Result<peer::SharedMemory> SharedContents::send_last_changes(SharedSink& sink, const MappedLook& mapped) {
  TRY(send_news(sink));
  peer::SharedMemory memory;
  for (const auto& [inode, object] : objects_) {
    TRY_ASSIGN(const uint64_t size, size_of(object.file));
    peer::SharedObject& entry = *memory.add_objects();
    entry.set_inode(inode);
    entry.set_size(size);
    if (is_sealed(object.file)) TRY(send_object(inode, mapped, sink));
  }
  return memory;
}

Result<> SharedContents::send_open_objects(SharedSink& sink, const MappedLook& mapped) {
  for (const auto& [inode, object] : objects_)
    if (!is_sealed(object.file)) TRY(send_object(inode, mapped, sink));
  return {};
}

std::vector<std::pair<uint64_t, uint64_t>> SharedContents::owned() const {
  std::vector<std::pair<uint64_t, uint64_t>> list;
  for (const auto& [inode, object] : objects_) list.emplace_back(finder_.device(), inode);
  return list;
}

}  // namespace godwit
