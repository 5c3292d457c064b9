#include "runtime/obstacles.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

#include "kernel/pidfd.h"
#include "kernel/proc.h"
#include "runtime/socket_obstacles.h"

namespace godwit {

namespace {

struct Unsupported {
  std::string_view prefix;  // of the link
  std::string_view what;
};

// Kinds of files that CRIU 4.2 has no support for. The kernel names them; a container cannot choose such a link for
// an ordinary file, because those start with a slash.
constexpr Unsupported kUnsupported[] = {
    {"anon_inode:[io_uring]", "an io_uring"},
    {"anon_inode:[userfaultfd]", "a userfaultfd"},
    {"anon_inode:[perf_event]", "a perf event"},
    {"anon_inode:[fanotify]", "a fanotify group"},
    {"anon_inode:kvm", "a virtual machine (KVM)"},
    {"anon_inode:bpf", "a BPF object"},
    {"anon_inode:[landlock-ruleset]", "a Landlock rule set"},
    {"anon_inode:seccomp notify", "a seccomp notification descriptor"},
    {"anon_inode:[fscontext]", "a file system context"},
    {"anon_inode:[secretmem]", "secret memory (memfd_secret)"},
    {"/secretmem", "secret memory (memfd_secret)"},
    {"/dev/fuse", "a FUSE connection"},
    {"/dev/kvm", "KVM"},
    {"/dev/infiniband/", "an RDMA device"},
    {"/dev/dri/", "a graphics device"},
    {"/dev/nvidia", "an NVIDIA GPU"},
    {"/dev/vhost", "a vhost device"},
};

std::string obstacle_in_file(int pidfd, const proc::OpenFile& file) {
  if (!file.link.starts_with("socket:")) return obstacle_in_link(file.link);
  const auto socket = copy_fd_from(pidfd, file.fd);
  return socket ? obstacle_in_socket(socket->get()) : "";  // an error: it was closed
}

void look_at(pid_t pid, std::set<std::string>& texts) {
  auto status = proc::status(pid);
  if (!status) return;  // it has ended
  const std::string who = fmt::format("process {} ({})", pid, status->name);
  if (status->tracer != 0)
    texts.insert(
        fmt::format("{} is traced by process {} (a debugger or strace), which must detach first", who, status->tracer));
  auto files = proc::open_files(pid);
  const auto pidfd = open_pidfd(pid);
  if (!files || !pidfd) return;
  for (const proc::OpenFile& file : *files) {
    const std::string what = obstacle_in_file(pidfd->get(), file);
    if (!what.empty())
      texts.insert(fmt::format("{} has {} open (descriptor {}), which CRIU cannot carry", who, what, file.fd));
  }
}

}  // namespace

std::string obstacle_in_link(const std::string& link) {
  for (const auto& [prefix, what] : kUnsupported)
    if (link.starts_with(prefix)) return std::string(what);
  return "";
}

std::vector<peer::Problem> find_obstacles(const std::vector<pid_t>& processes,
                                          const std::vector<peer::Stream>& streams) {
  std::set<std::string> texts;
  for (pid_t pid : processes) look_at(pid, texts);
  for (const peer::Stream& stream : streams) {
    if (stream.kind() != peer::Stream::UNSUPPORTED) continue;
    constexpr const char* kLabels[] = {"stdin", "stdout", "stderr"};
    texts.insert(fmt::format(
        "its {} is {}: start the container with /dev/null, a file, a pipe or a console socket",
        kLabels[stream.fd() % 3],
        stream.path().starts_with("socket:") ? "a socket to a process of this host" : "a terminal of this host"));
  }
  std::vector<peer::Problem> problems;
  for (const std::string& text : texts) {
    peer::Problem problem;
    problem.set_subject("criu");
    problem.set_text(text);
    problems.push_back(std::move(problem));
  }
  return problems;
}

}  // namespace godwit
