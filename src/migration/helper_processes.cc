#include "migration/helper_processes.h"

#include <poll.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"

namespace godwit {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr size_t kCommandLineBytesMax = 64 << 10;

fs::path process_directory(pid_t pid) { return "/proc/" + std::to_string(pid); }

// A process that CRIU is restoring is a criu until it gets its own program.
std::string program_of(pid_t pid) {
  std::error_code error;
  return fs::read_symlink(process_directory(pid) / "exe", error).filename();
}

bool is_told(pid_t pid, const std::string& text) {
  const auto line = read_file(process_directory(pid) / "cmdline", kCommandLineBytesMax);
  return line && line->find(text) != std::string::npos;
}

bool has_open(pid_t pid, const std::string& directory) {
  const auto files = proc::open_files(pid);
  return files && std::ranges::any_of(*files, [&](const auto& file) { return file.link.starts_with(directory + "/"); });
}

bool has_ended(int pidfd) {
  pollfd wait{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, 0) == 1;
}

}  // namespace

HelperProcesses HelperProcesses::find(const fs::path& directory) {
  HelperProcesses found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size()) continue;
    auto pidfd = open_pidfd(pid);
    if (!pidfd) continue;
    const std::string program = program_of(pid);
    if (is_told(pid, directory.string() + "/images") || (program == "criu" && has_open(pid, directory.string())) ||
        (program == "attacher" && is_told(pid, directory.string())))
      found.pidfds_.emplace(pid, std::move(*pidfd));
  }
  return found;
}

bool HelperProcesses::any_left() const {
  return std::ranges::any_of(pidfds_, [](const auto& entry) {
    const std::string program = program_of(entry.first);
    return !has_ended(entry.second.get()) &&
           (program == "criu" || program == "attacher" || program.starts_with("runc"));
  });
}

void HelperProcesses::await_end(Deadline deadline) {
  while (any_left() && Clock::now() < deadline) std::this_thread::sleep_for(10ms);
  if (!any_left()) return;
  log::error("criu, runc or attacher of a migration whose agent was killed does not end and is killed");
  for (const auto& [pid, pidfd] : pidfds_)
    if (const std::string program = program_of(pid); program == "criu" || program == "attacher")
      kill_if_alive(pidfd.get());
}

}  // namespace godwit
