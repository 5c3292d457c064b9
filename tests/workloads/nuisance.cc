// A container that makes it hard to be looked at and moved, in as many ways as --with names: forks, exits, names, vdso,
// full, traces. It goes on with them until it is told otherwise, and answers lines:
//
//   verify    "ok" if all that it does still works
//   calm      it stops that; "ok" when it has
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "flags.h"
#include "line_server.h"

namespace godwit::workloads {
namespace {

constexpr size_t kPage = 4096;

struct Nuisance {
  std::string name;
  std::function<bool()> once;  // whether it worked
  std::atomic<uint64_t> times = 0;
  std::atomic<bool> failed = false;
};
std::atomic<bool> calm = false;
std::atomic<int> at_work = 0;

// A child that has two children: there are always some on their way in or out.
bool fork_on() {
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 2; ++i)
      if (fork() == 0) _exit(0);
    while (wait(nullptr) > 0) continue;
    _exit(7);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7;
}

// A thread that ends while it is looked at.
bool end_threads() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([] {});
  for (std::thread& thread : threads) thread.join();
  return true;
}

// Room for a page, when there is some: fill_up() takes all, and gives it back. A write through a mapping for which
// there is none is a SIGBUS.
bool allocate_page(int fd) {
  while (fallocate(fd, 0, 0, kPage) != 0) {
    if (errno != ENOSPC && errno != EINTR) return false;
    usleep(1000);
  }
  return true;
}

// Names of processes, files and mappings that look like other text of /proc.
bool change_names() {
  static const char* const kNames[] = {"x) R 1 1 1 0 -1", "\nTracerPid:\t9\n", "a (deleted)", "\\012VmFlags: lo", " ",
                                       "\xff\xfe\n\n",    "State:\tZ"};
  for (const char* name : kNames) {
    prctl(PR_SET_NAME, name);
    const std::string path = std::string("/dev/shm/") + name + "\n7f0000000000-7f0000001000 rw-p 00000000 00:00 0";
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || !allocate_page(fd)) return false;
    auto* at = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (at == MAP_FAILED) return false;
    at[1] = 'y';
    unlink(path.c_str());  // deleted now, and mapped
    usleep(2000);
    const bool good = at[1] == 'y';
    munmap(at, kPage);
    close(fd);
    if (!good) return false;
  }
  return true;
}

struct Range {
  char* start = nullptr;
  size_t bytes = 0;
};

Range find_vdso() {
  Range range;
  FILE* maps = std::fopen("/proc/self/maps", "re");
  char line[512];
  while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long from = 0, to = 0;
    if (std::strstr(line, "[vdso]") != nullptr && std::sscanf(line, "%lx-%lx", &from, &to) == 2)
      range = {reinterpret_cast<char*>(from), to - from};
  }
  if (maps != nullptr) std::fclose(maps);
  return range;
}

std::atomic<pid_t> vdso_mover = 0;

// In a process of its own, whose other thread needs no vdso: it may be taken out of the place where somebody has just
// seen it. It is killed with its parent, or when calm is wanted, and never by itself.
bool move_vdso() {
  int status = 0;
  if (vdso_mover != 0) return usleep(5000), waitpid(vdso_mover, &status, WNOHANG) == 0;
  vdso_mover = fork();
  if (vdso_mover > 0) return true;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close_range(3, ~0U, 0);  // fill_up()'s file, which would keep its room
  const Range vdso = find_vdso();
  if (vdso.bytes == 0) _exit(1);
  std::thread([vdso] {
    void* const away = mmap(nullptr, vdso.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (;;) {
      if (mremap(vdso.start, vdso.bytes, vdso.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, away) != away) _exit(2);
      if (mremap(away, vdso.bytes, vdso.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, vdso.start) != vdso.start) _exit(3);
      usleep(100);
    }
  }).detach();
  for (;;) pause();
}

void end_vdso_mover() {
  const pid_t child = vdso_mover.exchange(0);
  if (child <= 0) return;
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

// Takes all of its tmpfs, and gives it back.
bool fill_up() {
  const char* path = "/dev/shm/all";
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  static char block[1 << 16];
  std::memset(block, 'x', sizeof block);
  while (write(fd, block, sizeof block) > 0) continue;
  const bool full = errno == ENOSPC;
  usleep(20'000);
  char last = 0;
  // Empty: what another process holds of a file that was removed still takes the room.
  const bool good = pread(fd, &last, 1, 0) == 0 || last == 'x';
  close(fd);
  unlink(path);
  usleep(5000);  // for others
  return full && good;
}

// A child that is traced by its parent for a moment, again and again.
bool trace_a_child() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  int status = 0;
  const bool seized = ptrace(PTRACE_SEIZE, child, 0, 0) == 0;  // not while somebody else traces it
  usleep(1000);
  kill(child, SIGKILL);
  while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status)) ptrace(PTRACE_CONT, child, 0, 0);
  return child > 0 && (seized || errno != EINVAL);
}

const std::map<std::string, bool (*)()>& kinds() {
  static const std::map<std::string, bool (*)()> all = {{"forks", fork_on},      {"exits", end_threads},
                                                        {"names", change_names}, {"vdso", move_vdso},
                                                        {"full", fill_up},       {"traces", trace_a_child}};
  return all;
}

int run(int argc, char** argv) {
  Flags flags(argc, argv, {{"port", "7008"}, {"with", "forks"}});
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  static std::map<std::string, Nuisance> nuisances;
  std::string with = flags.text("with") + ",";
  for (size_t end; (end = with.find(',')) != std::string::npos; with.erase(0, end + 1)) {
    const std::string name = with.substr(0, end);
    nuisances[name].name = name;
    nuisances[name].once = kinds().at(name);
  }
  for (auto& [name, nuisance] : nuisances) {
    ++at_work;
    std::thread([&nuisance] {
      while (!calm) {
        if (!nuisance.once()) nuisance.failed = true;
        ++nuisance.times;
      }
      if (nuisance.name == "vdso") end_vdso_mover();
      --at_work;
    }).detach();
  }
  serve_lines(listener, [](const std::string& line) -> std::string {
    if (line == "calm") calm = true;
    while (calm && at_work > 0) usleep(1000);
    for (auto& [name, nuisance] : nuisances) {
      const uint64_t before = nuisance.times;
      for (int ms = 0; !calm && nuisance.times < before + 2 && ms < 20'000; ++ms) usleep(1000);
      if (!calm && nuisance.times < before + 2) return name + " stands still";
      if (nuisance.failed) return name + " has failed";
    }
    return "ok";
  });
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
