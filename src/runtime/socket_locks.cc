#include "runtime/socket_locks.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "base/scoped_fd.h"
#include "kernel/proc.h"

namespace godwit {

std::set<uint64_t> locked_inodes(std::istream& locks, dev_t device) {
  // As in "1: FLOCK  ADVISORY  WRITE 708 00:08:12345 0 EOF".
  const std::string place = fmt::format(" {:02x}:{:02x}:", major(device), minor(device));
  std::set<uint64_t> inodes;
  for (std::string line; std::getline(locks, line);) {
    const size_t at = line.find(place);
    if (at == std::string::npos) continue;
    const char* number = line.data() + at + place.size();
    uint64_t inode = 0;
    if (std::from_chars(number, line.data() + line.size(), inode).ec == std::errc()) inodes.insert(inode);
  }
  return inodes;
}

Result<bool> have_locked_sockets(const std::vector<pid_t>& processes) {
  const ScopedFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct stat facts{};
  if (!socket || ::fstat(socket.get(), &facts) != 0) return fail_errno("look at a socket");
  std::ifstream locks("/proc/locks");
  if (!locks) return fail("cannot read /proc/locks");
  std::set<std::string> links;
  for (const uint64_t inode : locked_inodes(locks, facts.st_dev)) links.insert(fmt::format("socket:[{}]", inode));
  if (locks.bad()) return fail("cannot read /proc/locks to its end");
  if (links.empty()) return false;
  return std::ranges::any_of(processes, [&](pid_t pid) {
    const auto files = proc::open_files(pid);
    return files && std::ranges::any_of(*files, [&](const proc::OpenFile& file) { return links.contains(file.link); });
  });
}

}  // namespace godwit
