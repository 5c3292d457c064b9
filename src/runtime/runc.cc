#include "runtime/runc.h"

#include <sys/mount.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/identifier.h"

namespace godwit {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

// Every short runC command: it takes 20-50 ms; a minute means that the host is in trouble.
constexpr milliseconds kShortCommand = 60s;

ContainerState read_state(const json& value) {
  ContainerState state;
  state.name = value.value("id", "");
  state.status = value.value("status", "");
  state.pid = value.value("pid", 0);
  state.bundle = value.value("bundle", "");
  return state;
}

// runC's own record: cgroup_paths maps a controller (v1) or "" (v2) to a directory.
void read_cgroup(const json& record, ContainerState& state) {
  const json paths = record.value("cgroup_paths", json::object());
  for (const char* controller : {"freezer", ""}) {
    if (auto found = paths.find(controller); found != paths.end() && state.freezer_cgroup.empty())
      state.freezer_cgroup = found->get<std::string>();
  }
  state.cgroup_path = record.value("/config/cgroups/path"_json_pointer, "");
}

}  // namespace

Command Runc::command(std::vector<std::string> arguments) const {
  Command command;
  command.argv = {paths_.runc.string(), "--root", paths_.root.string()};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  return command;
}

Command Runc::criu_command(std::vector<std::string> arguments, const fs::path& socket, int log_fd,
                           bool private_tmp) const {
  Command result = command(std::move(arguments));
  if (private_tmp) result.argv.insert(result.argv.begin(), "--tmp");
  result.argv.insert(result.argv.begin(), (paths_.helpers / "private_mounts").string());
  const char* path = std::getenv("PATH");
  result.environment = {
      {"PATH", (paths_.helpers / "stub").string() + ":" + (path != nullptr ? path : "/usr/sbin:/usr/bin")},
      {"GODWIT_CRIU_SOCKET", socket.string()},
  };
  result.stdout_fd = log_fd;
  result.stderr_fd = log_fd;
  return result;
}

bool Runc::exists(const std::string& name) const {
  std::error_code error;
  return check_name("container name", name) && fs::exists(paths_.root / name, error);
}

Result<ContainerState> Runc::state(const std::string& name) const {
  TRY(check_name("container name", name));
  if (!exists(name)) return fail(Error("there is no container '" + name + "' here", ENOENT));
  TRY_ASSIGN(std::string text, run_checked(command({"state", name}), kShortCommand));
  TRY_ASSIGN(std::string record, read_file(paths_.root / name / "state.json"));
  try {
    ContainerState state = read_state(json::parse(text));
    read_cgroup(json::parse(record), state);
    return state;
  } catch (const json::exception& error) {
    return fail("the state that runc reports of '" + name + "': " + error.what());
  }
}

Result<std::vector<ContainerState>> Runc::list() const {
  TRY_ASSIGN(std::string text, run_checked(command({"list", "--format", "json"}), kShortCommand));
  std::vector<ContainerState> states;
  try {
    const json listed = json::parse(text);
    if (!listed.is_array()) return states;  // "null" when there are none
    for (const json& entry : listed) states.push_back(read_state(entry));
  } catch (const json::exception& error) {
    return fail(std::string("runc list: ") + error.what());
  }
  return states;
}

Result<std::string> Runc::version() const {
  TRY_ASSIGN(std::string text, run_checked(command({"--version"}), kShortCommand));
  const std::string first = split_lines(text).empty() ? "" : split_lines(text)[0];
  constexpr std::string_view kPrefix = "runc version ";
  return first.starts_with(kPrefix) ? first.substr(kPrefix.size()) : first;
}

Result<Subprocess> Runc::start_checkpoint(const CheckpointArguments& arguments) const {
  return Subprocess::start(criu_command({"checkpoint", "--image-path", arguments.images.string(), "--work-path",
                                         arguments.work.string(), "--tcp-established", "--file-locks", arguments.name},
                                        arguments.bridge_socket, arguments.log_fd, arguments.private_tmp));
}

Result<Subprocess> Runc::start_restore(const RestoreArguments& arguments) const {
  std::vector<std::string> words = {"restore",           "--detach",
                                    "--bundle",          arguments.bundle.string(),
                                    "--image-path",      arguments.images.string(),
                                    "--work-path",       arguments.work.string(),
                                    "--tcp-established", "--file-locks"};
  if (!arguments.console_socket.empty())
    words.insert(words.end(), {"--console-socket", arguments.console_socket.string()});
  words.push_back(arguments.name);
  return Subprocess::start(
      criu_command(std::move(words), arguments.bridge_socket, arguments.log_fd, arguments.private_tmp));
}

// A restore that was killed leaves the root file system bind-mounted below runC's state, and `runc delete` removes
// that state recursively: through the mount, the container's root file system itself.
Result<> Runc::remove(const std::string& name) const {
  if (!exists(name)) return {};
  const fs::path mounted_root = paths_.root / name / "criu-root";
  while (::umount2(mounted_root.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return fail_errno("unmount " + mounted_root.string());
  TRY(run_checked(command({"delete", "--force", name}), kShortCommand));
  return {};
}

Result<std::string> criu_version(const fs::path& criu) {
  TRY_ASSIGN(std::string text, run_checked({.argv = {criu.string(), "--version"}}, 10s));
  constexpr std::string_view kPrefix = "Version: ";
  for (const std::string& line : split_lines(text))
    if (line.starts_with(kPrefix)) return trimmed(line.substr(kPrefix.size()));
  return fail(criu.string() + " --version prints no version");
}

}  // namespace godwit
