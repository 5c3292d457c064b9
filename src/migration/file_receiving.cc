#include "migration/file_receiving.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "wire/little_endian.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// The source decides when it freezes; what comes before that it decides as well.
constexpr std::chrono::hours kSilenceMax{24 * 365};
// How much may come before what it takes up is looked at.
constexpr uint64_t kCheckEvery = uint64_t{16} << 20;
constexpr unsigned long kOwnFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;  // CRIU sets the container's

std::string source_name(const std::string& asked) {
  const bool plain = !asked.empty() && asked.size() <= 32 &&
                     std::ranges::all_of(asked, [](char c) { return std::isalnum(static_cast<unsigned char>(c)); });
  return plain ? asked : "tmpfs";
}

}  // namespace

Result<std::unique_ptr<FileReceiving>> FileReceiving::create(Settings settings) {
  if (settings.mounts.size() > wire::kTmpfsMountsMax)
    return fail(fmt::format("the source wants {} tmpfs mounts", settings.mounts.size()));
  std::unique_ptr<FileReceiving> receiving(new FileReceiving(std::move(settings)));
  for (const peer::TmpfsMount& asked : receiving->settings_.mounts) {
    Mount& mount = receiving->mounts_.emplace_back();
    mount.path = receiving->settings_.directory / std::to_string(receiving->mounts_.size() - 1);
    TRY(receiving->make(asked, mount));
  }
  return receiving;
}

Result<> FileReceiving::make(const peer::TmpfsMount& asked, Mount& mount) const {
  mount.options = tmpfs_options(asked.options());
  TRY(make_directories(mount.path));
  const std::string options = fmt::format("size={}{}{}", settings_.bytes_max, mount.options.at_first.empty() ? "" : ",",
                                          mount.options.at_first);
  if (::mount(source_name(asked.source()).c_str(), mount.path.c_str(), "tmpfs", kOwnFlags, options.c_str()) != 0)
    return fail_errno("mount a tmpfs on " + mount.path.string());
  mount.mounted = true;
  (void)::mount(nullptr, mount.path.c_str(), nullptr, MS_PRIVATE, nullptr);
  TRY_ASSIGN(mount.files, FileStaging::create(mount.path));
  return {};
}

FileReceiving::~FileReceiving() {
  cancel();
  if (thread_.joinable()) thread_.join();
  detach();
}

void FileReceiving::detach() {
  shared_.let_go();
  for (Mount& mount : mounts_) {
    mount.files.reset();
    if (!mount.mounted) continue;
    mount.mounted = false;
    if (::umount2(mount.path.c_str(), MNT_DETACH) != 0) log::warn("unmount {}: errno {}", mount.path.string(), errno);
    ::rmdir(mount.path.c_str());
  }
}

void FileReceiving::declare(criu::Options& options) const {
  for (size_t i = 0; i < mounts_.size(); ++i) declare_restored_tmpfs(i, mounts_[i].path, options);
}

std::vector<std::string> FileReceiving::paths() const {
  std::vector<std::string> paths;
  for (const Mount& mount : mounts_) paths.push_back(mount.path.string());
  return paths;
}

bool FileReceiving::accept(std::unique_ptr<DataConnection> connection) {
  std::lock_guard lock(mutex_);
  if (connection_) return false;
  connection->set_idle_limit(kSilenceMax);
  connection_ = std::move(connection);
  thread_ = std::jthread([this] {
    auto received = receive();
    const bool failed = !received;
    {
      std::lock_guard ended(mutex_);
      result_ = std::move(received);
      if (failed) connection_->cancel();
      changed_.notify_all();
    }
    if (failed) settings_.on_failure();
  });
  return true;
}

void FileReceiving::cancel() {
  std::lock_guard lock(mutex_);
  if (connection_) connection_->cancel();
}

Result<> FileReceiving::await(const bool& what, Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(lock, deadline, [&] { return what || !result_; }))
    return fail("the files of the tmpfs mounts and shared memory did not come");
  return what ? Result<>() : result_;
}

std::optional<Error> FileReceiving::failure() {
  std::lock_guard lock(mutex_);
  return result_ ? std::nullopt : std::optional(result_.error());
}

Result<> FileReceiving::await_trees(Deadline deadline) { return await(trees_here_, deadline); }
Result<> FileReceiving::await_content(Deadline deadline) { return await(content_here_, deadline); }

// --- On the receiving thread ----------------------------------------------------------------------------------------

Result<> FileReceiving::receive() {
  std::string payload;
  for (bool done = false; !done;) {
    TRY_ASSIGN(const wire::FrameHeader header, connection_->receive_frame(payload));
    TRY(take(header, payload));
    done = header.type == wire::FrameType::kContentEnd;
  }
  return {};
}

Result<> FileReceiving::take(const wire::FrameHeader& header, const std::string& payload) {
  if (header.type == wire::FrameType::kContentEnd) return end_content(header);
  if (header.type == wire::FrameType::kContent) TRY(check_size(payload.size()));
  if (header.index == wire::kSharedMemoryIndex && settings_.shared_memory) return take_object(header, payload);
  if (header.index >= mounts_.size()) return fail("a frame of a mount that is not there");
  return take_file(mounts_[header.index], header, payload);
}

Result<> FileReceiving::take_file(Mount& mount, const wire::FrameHeader& header, std::string_view bytes) {
  switch (header.type) {
    case wire::FrameType::kContent:
      return mount.files->content(wire::get_le<uint64_t>(bytes.data()), header.offset, bytes.substr(wire::kInodeBytes));
    case wire::FrameType::kContentZero:
      return mount.files->zeros(wire::get_le<uint64_t>(bytes.data()), header.offset,
                                wire::get_le<uint64_t>(bytes.data() + wire::kInodeBytes));
    case wire::FrameType::kFileTree:
      return take_part(mount.tree, bytes);
    case wire::FrameType::kFileTreeEnd:
      return take_tree(mount, header);
    default:
      return fail("a frame that has no place among files");
  }
}

Result<> FileReceiving::take_object(const wire::FrameHeader& header, std::string_view bytes) {
  switch (header.type) {
    case wire::FrameType::kObject:
      return shared_.object(wire::get_le<uint64_t>(bytes.data()), bytes.substr(wire::kInodeBytes));
    case wire::FrameType::kObjectGone:
      return shared_.object_gone(wire::get_le<uint64_t>(bytes.data()));
    case wire::FrameType::kContent:
      return shared_.content(wire::get_le<uint64_t>(bytes.data()), header.offset, bytes.substr(wire::kInodeBytes));
    case wire::FrameType::kContentZero:
      return shared_.zeros(wire::get_le<uint64_t>(bytes.data()), header.offset,
                           wire::get_le<uint64_t>(bytes.data() + wire::kInodeBytes));
    case wire::FrameType::kFileTree:
      return take_part(list_, bytes);
    case wire::FrameType::kFileTreeEnd:
      return take_list(header);
    default:
      return fail("a frame that has no place in shared memory");
  }
}

Result<> FileReceiving::take_part(Tree& tree, std::string_view bytes) const {
  if (tree.applied || tree.text.size() + bytes.size() > wire::kFileTreeBytesMax)
    return fail("a tree of too many files");
  tree.text.append(bytes);
  return {};
}

Result<> FileReceiving::take_tree(Mount& mount, const wire::FrameHeader& header) {
  peer::FileTree tree;
  if (mount.tree.applied || header.offset != mount.tree.text.size() || !tree.ParseFromString(mount.tree.text))
    return fail("a tree of files that cannot be read");
  TRY(mount.files->apply(tree));
  mount.tree = {.text = {}, .applied = true};
  if (!mount.files->awaits_content()) TRY(reconfigure(mount));
  note_tree();
  return {};
}

Result<> FileReceiving::take_list(const wire::FrameHeader& header) {
  peer::SharedMemory memory;
  if (list_.applied || header.offset != list_.text.size() || !memory.ParseFromString(list_.text))
    return fail("a list of shared memory that cannot be read");
  TRY(shared_.apply(memory));
  list_ = {.text = {}, .applied = true};
  note_tree();
  return {};
}

void FileReceiving::note_tree() {
  const bool mounts = std::ranges::all_of(mounts_, [](const Mount& mount) { return mount.tree.applied; });
  if (!mounts || list_.applied != settings_.shared_memory) return;
  std::lock_guard lock(mutex_);
  trees_here_ = true;
  changed_.notify_all();
}

Result<> FileReceiving::end_content(const wire::FrameHeader& header) {
  if (header.index != mounts_.size() || !trees_here_) return fail("the end of the files at the wrong time");
  for (Mount& mount : mounts_) {
    const bool open = mount.files->awaits_content();
    TRY(mount.files->finish());
    if (open) TRY(reconfigure(mount));
  }
  std::lock_guard lock(mutex_);
  content_here_ = true;
  changed_.notify_all();
  return {};
}

// The size and the other limits that the container knows. Read-only is refused while a file is open for writing: a
// child that this process forks for another migration has its files until it becomes another program.
Result<> FileReceiving::reconfigure(const Mount& mount) const {
  constexpr auto kChildHasFiles = 2s;
  const unsigned long flags = MS_REMOUNT | kOwnFlags | (mount.options.read_only ? MS_RDONLY : 0);
  const Deadline deadline = Clock::now() + kChildHasFiles;
  do {
    if (::mount(nullptr, mount.path.c_str(), nullptr, flags, mount.options.at_last.c_str()) == 0) return {};
    if (errno != EBUSY) break;
    std::this_thread::sleep_for(1ms);
    errno = EBUSY;
  } while (Clock::now() < deadline);
  return fail_errno("setting the limits of a tmpfs to " + mount.options.at_last);
}

Result<> FileReceiving::check_size(size_t more) {
  unchecked_bytes_ += more;
  if (unchecked_bytes_ < kCheckEvery) return {};
  unchecked_bytes_ = 0;
  uint64_t used = 0;
  for (const Mount& mount : mounts_) used += mount.files->used_bytes();
  used += shared_.used_bytes();
  if (used > settings_.bytes_max)
    return fail(fmt::format("tmpfs mounts and shared memory take more than the {} bytes of limits.image_bytes_max",
                            settings_.bytes_max));
  return {};
}

}  // namespace godwit
