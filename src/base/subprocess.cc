#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstring>
#include <map>

#include "base/file.h"

namespace godwit {

namespace {

int exit_status(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

std::vector<std::string> merged_environment(const Command& command) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (const char* equals = std::strchr(*entry, '='))
      variables[std::string(*entry, static_cast<size_t>(equals - *entry))] = equals + 1;
  }
  for (const auto& [name, value] : command.environment) variables[name] = value;
  std::vector<std::string> merged;
  for (const auto& [name, value] : variables) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> c_strings(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
};

}  // namespace

Result<Subprocess> Subprocess::start(const Command& command) {
  if (command.argv.empty()) return fail("no program to run");
  std::vector<std::string> argv = command.argv;
  std::vector<std::string> environment = merged_environment(command);

  SpawnSettings settings;
  const int fds[3] = {command.stdin_fd, command.stdout_fd, command.stderr_fd};
  for (int target = 0; target < 3; ++target) {
    if (fds[target] >= 0) {
      posix_spawn_file_actions_adddup2(&settings.files, fds[target], target);
    } else {
      posix_spawn_file_actions_addopen(&settings.files, target, "/dev/null", target == 0 ? O_RDONLY : O_WRONLY, 0);
    }
  }
  // The agent blocks signals in its threads; the child starts with none blocked and default actions, and in a
  // session of its own, so that ^C in the agent's terminal does not reach a migration's programs.
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  pid_t pid = -1;
  int error = posix_spawnp(&pid, argv[0].c_str(), &settings.files, &settings.attributes, c_strings(argv).data(),
                           c_strings(environment).data());
  if (error != 0) return fail_errno("start " + command.log_name(), error);
  ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return Subprocess(pid, std::move(pidfd));
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

Subprocess::~Subprocess() {
  if (pid_ < 0) return;
  kill();
  (void)wait();
}

void Subprocess::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void Subprocess::kill_group() {
  if (pid_ > 0) ::kill(-pid_, SIGKILL);
}

Result<int> Subprocess::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("wait for a child process");
  }
  pid_ = -1;
  return exit_status(status);
}

Result<std::optional<int>> Subprocess::wait_until(Deadline deadline) {
  pollfd item{pidfd_.get(), POLLIN, 0};
  for (;;) {
    int ready = ::poll(&item, 1, poll_ms(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail_errno("poll a child process");
    if (ready == 0) return std::nullopt;
    TRY_ASSIGN(int status, wait());
    return status;
  }
}

Result<CommandOutput> run_command(Command command, milliseconds limit) {
  int out[2];
  int errors[2];
  if (::pipe2(out, O_CLOEXEC) != 0) return fail_errno("pipe");
  ScopedFd out_read(out[0]), out_write(out[1]);
  if (::pipe2(errors, O_CLOEXEC) != 0) return fail_errno("pipe");
  ScopedFd errors_read(errors[0]), errors_write(errors[1]);
  command.stdout_fd = out_write.get();
  command.stderr_fd = errors_write.get();

  const Deadline deadline = Clock::now() + limit;
  TRY_ASSIGN(Subprocess child, Subprocess::start(command));
  out_write.reset();
  errors_write.reset();

  // Reading stops when the child has ended and its pipes hold no more: a grandchild that keeps them open (the
  // container itself, after runc restore --detach) must not be waited for.
  CommandOutput output;
  std::optional<int> status;
  pollfd items[3] = {{out_read.get(), POLLIN, 0}, {errors_read.get(), POLLIN, 0}, {child.pidfd(), POLLIN, 0}};
  std::string* texts[2] = {&output.out, &output.errors};
  for (;;) {
    int ready = ::poll(items, 3, status ? 0 : poll_ms(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail_errno("poll");
    if (ready == 0 && status) break;
    if (ready == 0) {
      if (command.kill_group) child.kill_group();
      return fail(command.log_name() + " did not finish within " + std::to_string(limit.count()) +
                  " ms and was killed");
    }
    for (int i = 0; i < 2; ++i) {
      if (items[i].revents == 0) continue;
      char buffer[16384];
      ssize_t got = ::read(items[i].fd, buffer, sizeof buffer);
      if (got <= 0) {
        items[i].fd = -1;
      } else if (texts[i]->size() < kCommandOutputBytesMax) {
        texts[i]->append(buffer, static_cast<size_t>(got));
      }
    }
    if (items[2].revents != 0) {
      TRY_ASSIGN(status, child.wait());
      items[2].fd = -1;
    }
  }
  output.status = *status;
  return output;
}

Result<std::string> run_checked(Command command, milliseconds limit) {
  std::string name = command.log_name();
  TRY_ASSIGN(CommandOutput output, run_command(std::move(command), limit));
  if (output.status != 0) {
    std::string reason = trimmed(output.errors);
    if (reason.size() > 500) reason = "…" + reason.substr(reason.size() - 500);
    return fail(name + " exited with " + std::to_string(output.status) + ": " + reason);
  }
  return std::move(output.out);
}

}  // namespace godwit
