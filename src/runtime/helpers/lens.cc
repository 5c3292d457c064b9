// The lens: preloaded into the criu process of a dump, so that CRIU does not see the memory that godwit sends itself.
//
// CRIU finds the pages to dump with ioctl(PAGEMAP_SCAN), asking for whatever is present or swapped. Here the answer
// leaves out what lies in the ranges named by $GODWIT_LENS/PID.owned (pairs of native 64-bit start and end addresses,
// sorted). On kernels without PAGEMAP_SCAN it reads /proc/PID/pagemap, eight bytes a page, and finds zeros there, which
// stand for pages that are not present. Its scan for guard pages leaves out the same if there is
// $GODWIT_LENS/PID.unguarded, which says that there are none. Other scans, for kernel features, ask for other
// categories and are passed on. And where it reads /proc/PID/smaps, for which the kernel walks all page tables, it gets
// $GODWIT_LENS/PID.smaps.
//
// The third thing: to look into mounts that others cover, CRIU makes a directory in the container's /tmp for a moment,
// which may be on a disk. It gets one on a tmpfs of the container's, if there is one.
//
// The fourth: the connections that the kernel tracks travel with the network namespace, so CRIU is told that there are
// none. To look for them the kernel walks its table, which is one for the whole host: 6 ms for 262,144 buckets (6.18).
//
// The fifth: what CRIU asks of the sockets that an epoll descriptor watches, see epoll_targets.h.
//
// The sixth: before CRIU looks at the first TCP connection, the agent is told, and CRIU waits until it has closed the
// connection to $GODWIT_LENS/sockets (socket_dump_watch.h).
//
// The seventh: what CRIU reads of descriptors in /proc, see descriptor_texts.h.
//
// The eighth: images of TCP connections, see pack_writer.h.
//
// The ninth: threads are traced by a process that lasts longer than a CRIU that is killed, see lasting_tracer.h.
//
// The eighth: where there is data in shared memory CRIU asks with lseek(SEEK_DATA) of each object. In those that
// $GODWIT_LENS/objects names (pairs of native 64-bit device and inode numbers) there is none.
//
// The ninth: CRIU wants a container's namespaces to belong to its user namespace, and tries whether it may enter them
// as its root. The network namespace may be the host's; the target restores such a one (restored_userns.cc).
//
// Whatever is unusual is passed on to the kernel: then CRIU dumps more than it has to, which is slow and right.
//
// Plain C in all but name: it must load in a criu with another C library than it was built with, so it uses only old
// symbols. One thread: CRIU has no other.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <initializer_list>

#include "runtime/helpers/descriptor_texts.h"
#include "runtime/helpers/epoll_targets.h"
#include "runtime/helpers/lasting_tracer.h"
#include "runtime/helpers/pack_writer.h"

namespace {

// linux/fs.h of 6.7; older headers do not have it.
struct PageRegion {
  uint64_t start, end, categories;
};
struct ScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = 0xc0606610;  // _IOWR('f', 16, struct pm_scan_arg)
constexpr uint64_t kPresent = 1 << 3, kSwapped = 1 << 4, kGuard = 1 << 8;

struct Range {
  uint64_t start, end;
};
constexpr size_t kRangesMax = size_t{1} << 20;

// The last process looked at: CRIU dumps one after the other.
struct Owned {
  int pid = 0;
  size_t count = 0;
  Range* ranges = nullptr;
};
Owned owned;
char directory[4000];

using Syscall = long (*)(long, ...);
Syscall libcs_syscall;

int agents_socket = -1;

// libc gives what main() got. CRIU is started as `criu swrk FD`, with its RPC socket.
__attribute__((constructor)) void start(int argc, char** argv, char**) {
  const bool are_there = argc == 3 && argv[1] != nullptr && argv[2] != nullptr;  // a test's main() takes some away
  if (are_there && strcmp(argv[1], "swrk") == 0) agents_socket = atoi(argv[2]);
  const char* value = getenv("GODWIT_LENS");
  if (value != nullptr && strlen(value) < sizeof directory) strcpy(directory, value);
  unsetenv("GODWIT_LENS");
  unsetenv("LD_PRELOAD");  // what CRIU starts is no business of ours
}

// The number between PREFIX and SUFFIX if TEXT is just these three; 0 if not.
int number_between(const char* text, const char* prefix, const char* suffix) {
  const size_t skip = strlen(prefix);
  if (strncmp(text, prefix, skip) != 0) return 0;
  char* end = nullptr;
  const long value = strtol(text + skip, &end, 10);
  return end != text + skip && strcmp(end, suffix) == 0 && value > 0 && value < 1 << 30 ? static_cast<int>(value) : 0;
}

// What descriptor FD is open on, as PREFIX pid SUFFIX.
int pid_of(int fd, const char* suffix) {
  char link[64], target[128];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, target, sizeof target - 1);
  if (length <= 0) return 0;
  target[length] = '\0';
  return number_between(target, "/proc/", suffix);
}

int open_beside(int pid, const char* suffix) {
  if (directory[0] == '\0') return -1;
  char path[sizeof directory + 64];
  snprintf(path, sizeof path, "%s/%d.%s", directory, pid, suffix);
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
}

// False: nothing is known of PID, which is asked for again the next time.
bool load(int pid) {
  if (owned.pid == pid) return true;
  const int fd = open_beside(pid, "owned");
  if (fd < 0) return false;
  struct stat entry{};
  bool loaded = false;
  if (fstat(fd, &entry) == 0 && entry.st_size % sizeof(Range) == 0 &&
      static_cast<size_t>(entry.st_size) <= kRangesMax * sizeof(Range)) {
    auto* ranges = static_cast<Range*>(malloc(static_cast<size_t>(entry.st_size) + 1));
    if (ranges != nullptr && read(fd, ranges, static_cast<size_t>(entry.st_size)) == entry.st_size) {
      free(owned.ranges);
      owned = {pid, static_cast<size_t>(entry.st_size) / sizeof(Range), ranges};
      loaded = true;
    } else {
      free(ranges);
    }
  }
  close(fd);
  return loaded;
}

// The first owned range that ends after ADDRESS.
size_t first_after(uint64_t address) {
  size_t low = 0, high = owned.count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (owned.ranges[middle].end <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The scan, only between the owned ranges. Like the kernel's it stops where the caller's array is full, and says so
// in walk_end.
long scan_between(int fd, ScanArg* arg) {
  uint64_t at = arg->start;
  uint64_t found = 0;
  for (size_t next = first_after(at); at < arg->end; ++next) {
    const uint64_t hole_end =
        next < owned.count && owned.ranges[next].start < arg->end ? owned.ranges[next].start : arg->end;
    if (hole_end > at) {
      if (found == arg->vec_len) break;
      ScanArg part = *arg;
      part.start = at;
      part.end = hole_end;
      part.vec = arg->vec + found * sizeof(PageRegion);
      part.vec_len = arg->vec_len - found;
      const long count = syscall(SYS_ioctl, fd, kPagemapScan, &part);
      if (count < 0) return count;
      found += static_cast<uint64_t>(count);
      at = part.walk_end;
      if (at < hole_end) break;
    }
    if (hole_end == arg->end) {
      at = arg->end;
      break;
    }
    at = owned.ranges[next].end < arg->end ? owned.ranges[next].end : arg->end;
  }
  arg->walk_end = at;
  return static_cast<long>(found);
}

constexpr uint64_t kPageBytes = 4096, kEntryBytes = 8;

// pread(2) of pagemap, with zeros for the owned ranges.
ssize_t read_between(int fd, char* buffer, size_t bytes, off_t offset) {
  uint64_t at = static_cast<uint64_t>(offset) / kEntryBytes * kPageBytes;
  const uint64_t end = at + bytes / kEntryBytes * kPageBytes;
  size_t done = 0;
  for (size_t next = first_after(at); at < end; ++next) {
    const uint64_t hole_end = next < owned.count && owned.ranges[next].start < end ? owned.ranges[next].start : end;
    if (hole_end > at) {
      const size_t wanted = (hole_end - at) / kPageBytes * kEntryBytes;
      const ssize_t got = syscall(SYS_pread64, fd, buffer + done, wanted, offset + static_cast<off_t>(done));
      if (got < 0 && done == 0) return got;
      if (got > 0) done += static_cast<size_t>(got);
      if (got < static_cast<ssize_t>(wanted)) break;
      at = hole_end;
    }
    if (at == end) break;
    const uint64_t owned_end = owned.ranges[next].end < end ? owned.ranges[next].end : end;
    const size_t zeros = (owned_end - at) / kPageBytes * kEntryBytes;
    memset(buffer + done, 0, zeros);
    done += zeros;
    at = owned_end;
  }
  return static_cast<ssize_t>(done);
}

ssize_t read_at(int fd, void* buffer, size_t bytes, off_t offset) {
  const bool of_entries = offset >= 0 && offset % static_cast<off_t>(kEntryBytes) == 0 && bytes % kEntryBytes == 0;
  const int pid = directory[0] != '\0' && of_entries ? pid_of(fd, "/pagemap") : 0;
  if (pid != 0 && load(pid)) return read_between(fd, static_cast<char*>(buffer), bytes, offset);
  return syscall(SYS_pread64, fd, buffer, bytes, offset);
}

bool is_page_search(const ScanArg* arg) {
  return arg->size == sizeof *arg && arg->category_anyof_mask == (kPresent | kSwapped) && arg->max_pages == 0 &&
         arg->flags == 0 && arg->vec_len > 0;
}

bool is_guard_search(const ScanArg* arg) {
  return arg->category_mask == kGuard && arg->category_anyof_mask == 0 && arg->category_inverted == 0 &&
         arg->flags == 0 && arg->vec_len > 0;
}

bool is_told(const char* name) {
  char path[sizeof directory + 64];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return syscall(SYS_access, path, F_OK) == 0;
}

bool is_known_unguarded(int pid) {
  const int fd = open_beside(pid, "unguarded");
  if (fd >= 0) close(fd);
  return fd >= 0;
}

int open_smaps(int directory_fd, const char* path) {
  if (directory[0] == '\0' || path == nullptr) return -1;
  int pid = 0;
  if (strcmp(path, "smaps") == 0) {
    pid = pid_of(directory_fd, "");
  } else {
    pid = number_between(path, "", "/smaps");  // relative to /proc
    if (pid == 0) pid = number_between(path, "/proc/", "/smaps");
  }
  return pid == 0 ? -1 : open_beside(pid, "smaps");
}

// The process whose directory in /proc was used last. CRIU keeps one open, and opens another with O_PATH.
struct ProcDirectory {
  int fd = -1;
  int pid = 0;  // 0: CRIU's own
};
ProcDirectory proc_directory;

int open_fdinfo(int directory_fd, const char* path) {
  constexpr char kPrefix[] = "fdinfo/";
  if (directory[0] == '\0' || path == nullptr || strncmp(path, kPrefix, sizeof kPrefix - 1) != 0) return -1;
  char* end = nullptr;
  const unsigned long number = strtoul(path + sizeof kPrefix - 1, &end, 10);
  if (end == path + sizeof kPrefix - 1 || *end != '\0' || number >= kDescriptorsMax) return -1;
  if (proc_directory.fd != directory_fd) {
    const int pid = pid_of(directory_fd, "");
    if (pid == 0) return -1;
    sockets_are_unlocked = is_told("unlocked_sockets");
    proc_directory = {directory_fd, pid == static_cast<int>(getpid()) ? 0 : pid};
  }
  return open_descriptor_text(directory_fd, path, proc_directory.pid, static_cast<uint32_t>(number));
}

int open_any(int directory_fd, const char* path, int flags, unsigned mode) {
  if ((flags & (O_ACCMODE | O_CREAT | O_PATH)) == O_RDONLY) {
    int fd = open_smaps(directory_fd, path);
    if (fd < 0) fd = open_fdinfo(directory_fd, path);
    if (fd >= 0) return fd;
  }
  if ((flags & O_PATH) != 0) proc_directory.fd = -1;
  if ((flags & O_CREAT) != 0 && directory[0] != '\0' && path != nullptr) {
    const int fd = open_packed(directory_fd, path, flags, mode);
    if (fd >= 0) return fd;
  }
  return static_cast<int>(syscall(SYS_openat, directory_fd, path, flags, mode));
}

constexpr size_t kObjectsMax = 4096;
struct Object {
  uint64_t device, inode;
};
Object objects[kObjectsMax];
size_t object_count = 0;

// Once: the agent writes the file before CRIU looks at anything.
void load_objects() {
  static bool loaded = false;
  if (loaded || directory[0] == '\0') return;
  loaded = true;
  char path[sizeof directory + 16];
  snprintf(path, sizeof path, "%s/objects", directory);
  const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return;
  const ssize_t got = read(fd, objects, sizeof objects);
  if (got > 0) object_count = static_cast<size_t>(got) / sizeof(Object);
  close(fd);
}

bool is_owned_object(int fd) {
  load_objects();
  struct stat entry{};
  if (object_count == 0 || fstat(fd, &entry) != 0) return false;
  for (size_t i = 0; i < object_count; ++i)
    if (objects[i].device == entry.st_dev && objects[i].inode == entry.st_ino) return true;
  return false;
}

off_t seek(int fd, off_t offset, int whence) {
  if (whence == SEEK_DATA && is_owned_object(fd)) {
    errno = ENXIO;
    return -1;
  }
  return syscall(SYS_lseek, fd, offset, whence);
}

bool on_tmpfs(const char* path) {
  struct statfs facts{};
  return statfs(path, &facts) == 0 && facts.f_type == TMPFS_MAGIC;
}

// Makes the directory that TEMPLATE, which ends in six X, names then; what mkdtemp(3) does.
char* make_directory(char* name) {
  static const char kDigits[] = "0123456789abcdef";
  const size_t length = strlen(name);
  if (length < 6 || strcmp(name + length - 6, "XXXXXX") != 0) {
    errno = EINVAL;
    return nullptr;
  }
  for (int tries = 0; tries < 100; ++tries) {
    unsigned random = 0;
    if (syscall(SYS_getrandom, &random, sizeof random, 0) != sizeof random) return nullptr;
    for (size_t i = 0; i < 6; ++i) name[length - 6 + i] = kDigits[random >> (4 * i) & 15];
    if (mkdir(name, 0700) == 0) return name;
    if (errno != EEXIST) return nullptr;
  }
  return nullptr;
}

// A request for all connections that are tracked, or all that are expected.
bool asks_for_connections(int fd, const msghdr* message) {
  constexpr uint16_t kGet = 1;  // IPCTNL_MSG_CT_GET and IPCTNL_MSG_EXP_GET
  if (message->msg_iovlen != 1 || message->msg_iov[0].iov_len < sizeof(nlmsghdr)) return false;
  int protocol = 0;
  socklen_t length = sizeof protocol;
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0 || protocol != NETLINK_NETFILTER) return false;
  const auto* header = static_cast<const nlmsghdr*>(message->msg_iov[0].iov_base);
  return (header->nlmsg_type == (NFNL_SUBSYS_CTNETLINK << 8 | kGet) ||
          header->nlmsg_type == (NFNL_SUBSYS_CTNETLINK_EXP << 8 | kGet)) &&
         (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
}

// Has the kernel answer that all is well, with which CRIU's request ends.
ssize_t ask_for_nothing(int fd, const msghdr* message, int flags) {
  nlmsghdr header = *static_cast<const nlmsghdr*>(message->msg_iov[0].iov_base);
  header.nlmsg_len = sizeof header;
  header.nlmsg_type = NLMSG_NOOP;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  iovec part{&header, sizeof header};
  msghdr other = *message;
  other.msg_iov = &part;
  const long sent = syscall(SYS_sendmsg, fd, &other, flags);
  return sent == sizeof header ? static_cast<ssize_t>(message->msg_iov[0].iov_len) : sent;
}

// Once, and not without an agent: its socket is gone then, or not answered for two seconds.
void tell_of_first_connection() {
  static bool told = false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (told || directory[0] == '\0' || strlen(directory) + sizeof "/sockets" > sizeof address.sun_path) return;
  told = true;
  strcpy(address.sun_path, directory);
  strcat(address.sun_path, "/sockets");
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const timeval limit{2, 0};
  char nothing = 0;
  if (syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    (void)!read(fd, &nothing, 1);
  close(fd);
}

unsigned mode_of(int flags, va_list list) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, unsigned) : 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (request == kPagemapScan && argument != nullptr && directory[0] != '\0') {
    auto* arg = static_cast<ScanArg*>(argument);
    const int pid = is_page_search(arg) ? pid_of(fd, "/pagemap") : 0;
    if (pid != 0 && load(pid)) return static_cast<int>(scan_between(fd, arg));
    const int unguarded = is_guard_search(arg) ? pid_of(fd, "/pagemap") : 0;
    if (unguarded != 0 && is_known_unguarded(unguarded) && load(unguarded))
      return static_cast<int>(scan_between(fd, arg));
  }
  return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void* buffer, size_t bytes, off_t offset) {
  return read_at(fd, buffer, bytes, offset);
}

__attribute__((visibility("default"))) ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  return read_at(fd, buffer, bytes, offset);
}

__attribute__((visibility("default"))) off_t lseek64(int fd, off_t offset, int whence) noexcept {
  return seek(fd, offset, whence);
}

__attribute__((visibility("default"))) off_t lseek(int fd, off_t offset, int whence) noexcept {
  return seek(fd, offset, whence);
}

__attribute__((visibility("default"))) int openat64(int directory_fd, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned mode = mode_of(flags, list);
  va_end(list);
  return open_any(directory_fd, path, flags | O_LARGEFILE, mode);
}

__attribute__((visibility("default"))) int openat(int directory_fd, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned mode = mode_of(flags, list);
  va_end(list);
  return open_any(directory_fd, path, flags, mode);
}

__attribute__((visibility("default"))) ssize_t read(int fd, void* buffer, size_t bytes) {
  return is_open_text(fd) ? read_open_text(buffer, bytes) : syscall(SYS_read, fd, buffer, bytes);
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void* data, size_t bytes) {
  return is_packed(fd) ? write_packed(data, bytes) : syscall(SYS_write, fd, data, bytes);
}

__attribute__((visibility("default"))) int close(int fd) {
  if (is_packed(fd)) return close_packed();
  if (is_open_text(fd)) {
    open_text.open = false;
    return 0;
  }
  return static_cast<int>(syscall(SYS_close, fd));
}

__attribute__((visibility("default"))) int fstat64(int fd, struct stat64* facts) noexcept {
  const long result = syscall(SYS_fstat, fd, facts);
  if (result == 0) note_stat(fd, reinterpret_cast<const struct stat*>(facts));  // the same on x86-64
  return static_cast<int>(result);
}

__attribute__((visibility("default"))) int fstatfs64(int fd, struct statfs64* facts) noexcept {
  const long result = syscall(SYS_fstatfs, fd, facts);
  if (result == 0) note_filesystem(fd, facts->f_type);
  return static_cast<int>(result);
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (directory[0] != '\0' && asks_for_connections(fd, message)) return ask_for_nothing(fd, message, flags);
  return syscall(SYS_sendmsg, fd, message, flags);
}

__attribute__((visibility("default"))) int setsockopt(int fd, int level, int option, const void* value,
                                                      socklen_t length) noexcept {
  const auto* number = static_cast<const int*>(value);
  lasting::note_option(fd, level, option, number, length);
  const long result = syscall(SYS_setsockopt, fd, level, option, value, length);
  if (result != 0) return static_cast<int>(result);
  lasting::forget_option(fd, level, option, number, length);
  if (level == IPPROTO_TCP && option == lasting::kRepair && length == sizeof(int) && *number == 1) {
    const int error = errno;
    tell_of_first_connection();
    errno = error;
  }
  return static_cast<int>(result);
}

__attribute__((visibility("default"))) int setns(int fd, int type) noexcept {
  static bool in_user_namespace = false;
  const long result = syscall(SYS_setns, fd, type);
  if (type == CLONE_NEWUSER && result == 0) in_user_namespace = true;
  const bool of_the_host = type == CLONE_NEWNET && in_user_namespace && result != 0 && errno == EPERM;
  return of_the_host && directory[0] != '\0' ? 0 : static_cast<int>(result);
}

// CRIU makes the calls this way that libc has no function for.
__attribute__((visibility("default"))) long syscall(long number, ...) noexcept {
  constexpr long kEpollTarget = 7;  // KCMP_EPOLL_TFD
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_kcmp && static_cast<int>(arguments[2]) == kEpollTarget && directory[0] != '\0' &&
      arguments[4] != 0 &&
      is_watched_socket(static_cast<int>(arguments[0]), static_cast<unsigned long>(arguments[3]),
                        static_cast<int>(arguments[1]), reinterpret_cast<const EpollSlot*>(arguments[4])))
    return 0;
  if (libcs_syscall == nullptr) libcs_syscall = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  return libcs_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

__attribute__((visibility("default"))) long ptrace(__ptrace_request request, ...) noexcept {
  va_list list;
  va_start(list, request);
  const int pid = va_arg(list, int);
  const long address = va_arg(list, long), data = va_arg(list, long);
  va_end(list);
  return lasting::trace_for_criu(request, pid, address, data, directory[0] != '\0', agents_socket);
}

__attribute__((visibility("default"))) pid_t wait4(pid_t pid, int* status, int options, rusage* usage) {
  return lasting::wait_for_criu(pid, status, options, usage);
}

__attribute__((visibility("default"))) int kill(pid_t pid, int number) noexcept {
  return lasting::kill_for_criu(pid, number);
}

// NAME is a buffer of CRIU's as long as the text in it: another name must be no longer.
__attribute__((visibility("default"))) char* mkdtemp(char* name) noexcept {
  constexpr char kCrius[] = "/tmp/cr-tmpfs.XXXXXX";
  for (const char* place : {"/dev/shm", "/dev"}) {
    if (strcmp(name, kCrius) != 0 || !on_tmpfs(place)) continue;
    char other[sizeof kCrius];
    snprintf(other, sizeof other, "%s/cXXXXXX", place);
    if (make_directory(other) == nullptr) continue;
    strcpy(name, other);
    return name;
  }
  return make_directory(name);
}

}  // extern "C"
