#include "runtime/streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/subprocess.h"
#include "kernel/proc.h"
#include "runtime/terminal_receiver.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLabels[] = {"stdin", "stdout", "stderr"};
// Numbers of the replacements in criu's descriptor table: above those that runC uses (it counts up from 3).
constexpr int kFirstNumber = 200;

bool is_writable(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

// The mount ids of the container's mount namespace: a file on another mount belongs to the host.
std::set<int> mount_ids(pid_t pid) {
  std::set<int> ids;
  auto text = read_file(fs::path("/proc") / std::to_string(pid) / "mountinfo");
  if (!text) return ids;
  for (const std::string& line : split_lines(*text)) ids.insert(std::atoi(line.c_str()));
  return ids;
}

void classify(pid_t pid, const std::string& link, const struct stat& facts, bool terminal, peer::Stream& stream,
              const proc::FdInfo& info) {
  const bool is_char = S_ISCHR(facts.st_mode);
  constexpr unsigned kMajorPts = 136, kMajorPtsLast = 143;  // Documentation/admin-guide/devices.txt
  stream.set_flags(info.flags);
  stream.set_mode(facts.st_mode & 07777);
  if (is_char && facts.st_rdev == makedev(1, 3)) {
    stream.set_kind(peer::Stream::DEV_NULL);
  } else if (is_char && major(facts.st_rdev) >= kMajorPts && major(facts.st_rdev) <= kMajorPtsLast) {
    stream.set_kind(terminal ? peer::Stream::TERMINAL : peer::Stream::UNSUPPORTED);
    stream.set_path(link);
  } else if (S_ISFIFO(facts.st_mode) && link.starts_with("pipe:[")) {
    stream.set_kind(peer::Stream::PIPE);
    stream.set_key(fmt::format("pipe:[{}]", static_cast<uint32_t>(facts.st_ino)));
  } else if (S_ISREG(facts.st_mode) && !mount_ids(pid).contains(info.mount_id)) {
    stream.set_kind(peer::Stream::FILE);
    stream.set_path(link);
    stream.set_offset(info.position);
    stream.set_key(fmt::format("file[{:x}:{:x}]", info.mount_id, facts.st_ino));
  } else if (S_ISSOCK(facts.st_mode)) {
    stream.set_kind(peer::Stream::UNSUPPORTED);
    stream.set_path(link);
  }
}

}  // namespace

Result<std::vector<peer::Stream>> find_streams(pid_t pid, bool terminal) {
  std::vector<peer::Stream> streams;
  for (int fd = 0; fd <= 2; ++fd) {
    const std::string path = fmt::format("/proc/{}/fd/{}", pid, fd);
    struct stat facts{};
    if (::stat(path.c_str(), &facts) != 0) {
      if (errno == ENOENT && ::access(fmt::format("/proc/{}/fd", pid).c_str(), F_OK) == 0) continue;
      return fail_errno(path);
    }
    TRY_ASSIGN(proc::FdInfo info, proc::fd_info(pid, fd));
    std::error_code error;
    const std::string link = fs::read_symlink(path, error).string();
    peer::Stream stream;
    stream.set_fd(static_cast<uint32_t>(fd));
    classify(pid, link, facts, terminal, stream, info);
    streams.push_back(std::move(stream));
  }
  return streams;
}

void declare_streams(const std::vector<peer::Stream>& streams, criu::Options& options) {
  std::set<std::string> keys;
  for (const peer::Stream& stream : streams)
    if (stream.kind() == peer::Stream::FILE && keys.insert(stream.key()).second) options.add_external(stream.key());
}

StreamReplacements::StreamReplacements() = default;
StreamReplacements::StreamReplacements(StreamReplacements&&) noexcept = default;
StreamReplacements::~StreamReplacements() = default;

Result<StreamReplacements> StreamReplacements::open(const std::vector<peer::Stream>& streams,
                                                    const Settings& settings) {
  if (streams.size() > 3) return fail("more than three standard streams");
  StreamReplacements replacements;
  replacements.settings_ = settings;
  for (const peer::Stream& stream : streams) TRY(replacements.replace(stream));
  return replacements;
}

Result<> StreamReplacements::replace(const peer::Stream& stream) {
  if (stream.fd() > 2 || stream.key().size() > 64) return fail("malformed standard stream");
  if (has(stream.key())) return {};  // 2>&1
  if (stream.kind() == peer::Stream::FILE) return replace_file(stream);
  if (stream.kind() == peer::Stream::PIPE) return replace_pipe(stream);
  return {};
}

bool StreamReplacements::has(const std::string& key) const {
  return std::ranges::any_of(replacements_, [&](const auto& item) { return item.key == key; });
}

Result<> StreamReplacements::replace_file(const peer::Stream& stream) {
  const fs::path path = stream.path();
  if (!path.is_absolute() || path.lexically_normal() != path)
    return fail("the path of a standard stream is not plain and absolute: " + path.string());
  int flags = O_RDONLY;
  if (is_writable(stream.flags())) flags = static_cast<int>(stream.flags() & O_ACCMODE) | O_APPEND | O_CREAT;
  const auto label = std::string(kLabels[stream.fd()]) + " goes to a file on the host";
  auto fd = open_file(path, flags | O_NOFOLLOW | O_NONBLOCK, stream.mode() & 0666);
  if (!fd) return fail(std::move(fd.error()).during(label));
  struct stat facts{};
  if (::fstat(fd->get(), &facts) != 0) return fail_errno("fstat " + path.string());
  if (!S_ISREG(facts.st_mode)) return fail(path.string() + " is not a regular file here");
  if (::fcntl(fd->get(), F_SETFL, flags & O_APPEND) != 0) return fail_errno("fcntl");
  replacements_.push_back({stream.key(), std::move(*fd), true});
  notes_.push_back(fmt::format("{} goes on in {}", kLabels[stream.fd()], path.string()));
  return {};
}

// The container's end keeps working as a pipe; what comes out of it is a keeper's business.
Result<> StreamReplacements::replace_pipe(const peer::Stream& stream) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  ScopedFd read_end(ends[0]), write_end(ends[1]);
  const std::string label = kLabels[stream.fd()];
  if (is_writable(stream.flags())) {
    TRY(start_keeper(read_end.get(), label));
    replacements_.push_back({stream.key(), std::move(write_end), false});
    return {};
  }
  TRY(run_checked({.argv = {settings_.keeper.string(), "--hold"}, .stdin_fd = write_end.get()},
                  std::chrono::seconds(10)));
  replacements_.push_back({stream.key(), std::move(read_end), false});
  notes_.push_back(label + " was a pipe from the source; it stays open and silent here");
  return {};
}

Result<> StreamReplacements::start_keeper(int input, const std::string& label) {
  const fs::path log = settings_.log_directory / fmt::format("{}-{}.log", settings_.container, label);
  TRY(make_directories(settings_.log_directory, 0755));
  TRY_DOING(
      "start the keeper of " + label,
      run_checked({.argv = {settings_.keeper.string(), log.string()}, .stdin_fd = input}, std::chrono::seconds(10)));
  notes_.push_back(fmt::format("{} goes on in {}", label, log.string()));
  return {};
}

Result<> StreamReplacements::listen_for_terminal(const fs::path& socket) {
  const fs::path log = settings_.log_directory / (settings_.container + "-terminal.log");
  TRY(make_directories(settings_.log_directory, 0755));
  TRY_ASSIGN(terminal_, TerminalReceiver::start(socket, settings_.keeper, log));
  notes_.push_back("its terminal's output goes on in " + log.string());
  return {};
}

Result<> StreamReplacements::set_positions(const std::vector<peer::Stream>& streams) {
  for (const peer::Stream& stream : streams) {
    if (stream.kind() != peer::Stream::FILE || is_writable(stream.flags())) continue;
    for (const Replacement& item : replacements_) {
      if (item.key != stream.key()) continue;
      if (::lseek(item.fd.get(), static_cast<off_t>(stream.offset()), SEEK_SET) < 0)
        return fail_errno("lseek " + stream.path());
    }
  }
  return {};
}

std::vector<std::pair<int, int>> StreamReplacements::descriptors() const {
  std::vector<std::pair<int, int>> pairs;
  for (size_t i = 0; i < replacements_.size(); ++i)
    pairs.emplace_back(kFirstNumber + static_cast<int>(i), replacements_[i].fd.get());
  return pairs;
}

void StreamReplacements::declare(criu::Options& options) const {
  for (size_t i = 0; i < replacements_.size(); ++i) {
    criu::InheritFd* entry = options.add_inherit_fd();
    // CRIU looks a regular file up by its name without the first character, which is a slash for every file but an
    // external one (files-reg.c). Under that key it takes the descriptor as it is, with our O_APPEND; under the
    // whole key it would open the file again at the source's offset, which leaves a hole in a file that is not shared.
    entry->set_key(replacements_[i].is_file ? replacements_[i].key.substr(1) : replacements_[i].key);
    entry->set_fd(kFirstNumber + static_cast<int>(i));
  }
}

}  // namespace godwit
