#include "kernel/file_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/fanotify.h>

#include <cstring>
#include <memory>

namespace godwit {

namespace {

constexpr size_t kEventBytes = size_t{64} << 10;

// tmpfs's file handle (fs/libfs.c, mm/shmem.c): generation, inode number's lower and upper half.
constexpr int kTmpfsHandleType = 1;
constexpr unsigned kTmpfsHandleBytes = 12;

bool inode_of(const fanotify_event_metadata& event, uint64_t& inode) {
  const auto* info = reinterpret_cast<const fanotify_event_info_fid*>(&event + 1);
  if (event.event_len < sizeof event + sizeof *info + sizeof(file_handle) + kTmpfsHandleBytes) return false;
  file_handle handle;
  std::memcpy(&handle, info->handle, sizeof handle);
  if (info->hdr.info_type != FAN_EVENT_INFO_TYPE_FID || handle.handle_type != kTmpfsHandleType ||
      handle.handle_bytes != kTmpfsHandleBytes)
    return false;
  uint32_t words[3];
  std::memcpy(words, info->handle + sizeof handle, sizeof words);
  inode = words[1] | uint64_t{words[2]} << 32;
  return true;
}

}  // namespace

Result<FileWatch> FileWatch::start(int root) {
  ScopedFd events(::fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC));
  if (!events) return fail_errno("fanotify_init");
  if (::fanotify_mark(events.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE | FAN_MODIFY, root, nullptr) !=
      0)
    return fail_errno("fanotify_mark");
  return FileWatch(std::move(events));
}

Result<FileWatch::Ends> FileWatch::take() {
  Ends ends;
  const auto buffer = std::make_unique<char[]>(kEventBytes);
  for (;;) {
    const ssize_t got = ::read(events_.get(), buffer.get(), kEventBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return ends;
    if (got < 0) return fail_errno("reading fanotify's events");
    auto left = static_cast<size_t>(got);
    for (auto* event = reinterpret_cast<fanotify_event_metadata*>(buffer.get()); FAN_EVENT_OK(event, left);
         event = FAN_EVENT_NEXT(event, left)) {
      uint64_t inode = 0;
      if ((event->mask & FAN_Q_OVERFLOW) != 0 || !inode_of(*event, inode)) {
        ends.all = true;
        continue;
      }
      if ((event->mask & FAN_CLOSE_WRITE) != 0) ends.inodes.insert(inode);
      if ((event->mask & FAN_MODIFY) != 0) ends.modified.insert(inode);
    }
  }
}

bool is_open_for_writing(int file) {
  // The signal that asks the holder of a lease to end it is one that is ignored by default.
  if (::fcntl(file, F_SETSIG, SIGURG) != 0 || ::fcntl(file, F_SETLEASE, F_RDLCK) != 0) return true;
  (void)::fcntl(file, F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace godwit
