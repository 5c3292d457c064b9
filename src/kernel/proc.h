// Facts about processes from /proc. Text there is controlled by containers (names, paths): it is
// parsed by position, never by searching for what a process may have written itself. A process may
// end at any time; then the answer is an error with code ESRCH or ENOENT, or the process is left
// out.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace godwit::proc {

// All processes (thread group leaders) in the cgroup DIRECTORY and below it.
Result<std::vector<pid_t>> processes_in_cgroup(const std::filesystem::path& directory);

struct OpenFile {
  int fd;
  std::string link;  // what /proc/PID/fd/N points at: a path, pipe:[…], socket:[…], anon_inode:…
};
Result<std::vector<OpenFile>> open_files(pid_t pid);

struct FdInfo {
  uint64_t position = 0;
  uint32_t flags = 0;
  int mount_id = -1;
  uint64_t inode = 0;
  uint32_t in_flight = 0;  // of a UNIX socket: descriptors that wait in it to be received
};
Result<FdInfo> fd_info(pid_t pid, int fd);

struct Status {
  std::string name;
  char state = '?';
  pid_t tracer = 0;
  uint64_t unshared_bytes = 0;  // resident anonymous and shared memory, without file mappings
};
Result<Status> status(pid_t pid);

// The numbers of thread THREAD of process PID in its pid namespaces, the outermost first; at least one.
Result<std::vector<uint32_t>> namespace_pids(pid_t pid, pid_t thread);

// The pid of process PID as the processes of its own pid namespace see it.
Result<pid_t> innermost_pid(pid_t pid);

// Files mapped executable or read-only from a file system, each once: the program and its
// libraries.
Result<std::vector<std::string>> mapped_files(pid_t pid);

// Value of a line "KEY: N kB" of /proc/meminfo, in bytes; 0 if missing.
uint64_t meminfo_bytes(const std::string& key);

// What the queues of all TCP sockets together may take, in bytes: the last number of net.ipv4.tcp_mem, which only the
// machine's own network namespace shows. Elsewhere what is more than its default, an eighth of all memory.
uint64_t tcp_queue_bytes_max();

// The flags of the first processor, sorted.
std::vector<std::string> cpu_flags();

}  // namespace godwit::proc
