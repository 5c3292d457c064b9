#include "memory/file_staging.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <ranges>

#include "base/file.h"
#include "base/identifier.h"
#include "memory/content_writing.h"
#include "wire/frame.h"

namespace godwit {

namespace {

// Each costs a descriptor until the last content is here.
constexpr size_t kOpenFilesMax = 4096;

std::string staged_name(uint64_t inode) { return fmt::format("{:x}", inode); }

// PARENT is a descriptor of ours and NAME a single component, so nothing on the way is the peer's.
std::string path_of(int parent, const std::string& name) { return fmt::format("/proc/self/fd/{}/{}", parent, name); }

Result<> set_times(int parent, const std::string& name, const peer::FileEntry& entry) {
  const timespec times[2] = {{0, UTIME_OMIT}, {entry.mtime_s(), entry.mtime_ns()}};
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("setting a file's time");
  return {};
}

// The owner first: changing it takes set-user-ID bits and capabilities away.
Result<> set_attributes(int parent, const std::string& name, const peer::FileEntry& entry) {
  if (::fchownat(parent, name.c_str(), entry.uid(), entry.gid(), AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("setting a file's owner");
  if (!S_ISLNK(entry.mode()) && ::fchmodat(parent, name.c_str(), entry.mode() & 07777, 0) != 0)
    return fail_errno("setting a file's mode");
  for (const peer::ExtendedAttribute& attribute : entry.attributes())
    if (::lsetxattr(path_of(parent, name).c_str(), attribute.name().c_str(), attribute.value().data(),
                    attribute.value().size(), 0) != 0)
      return fail_errno("setting a file's extended attribute");
  return {};
}

}  // namespace

Result<std::unique_ptr<FileStaging>> FileStaging::create(const std::filesystem::path& root) {
  std::unique_ptr<FileStaging> staging(new FileStaging);
  TRY_ASSIGN(staging->root_, open_file(root, O_RDONLY | O_DIRECTORY));
  staging->staged_name_ = ".godwit-" + random_id();
  if (::mkdirat(staging->root_.get(), staging->staged_name_.c_str(), 0700) != 0)
    return fail_errno("making a directory in " + root.string());
  TRY_ASSIGN(staging->staged_, open_below(staging->root_.get(), staging->staged_name_, O_RDONLY | O_DIRECTORY));
  return staging;
}

// Borrowed until the next call.
Result<int> FileStaging::file_for(uint64_t inode) {
  if (applied_) {
    auto open = open_.find(inode);
    if (open == open_.end()) return fail("content of a file that was not open for writing, behind the tree");
    return open->second.file.get();
  }
  if (current_ && current_inode_ == inode) return current_.get();
  const std::string name = staged_name(inode);
  current_.reset(::openat(staged_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!current_) return fail_errno("opening a staged file");
  struct stat facts{};
  if (::fstat(current_.get(), &facts) != 0) return fail_errno("fstat of a staged file");
  if (facts.st_blocks == 0 && ++staged_files_ > uint64_t{4} * kFileEntriesMax) return fail("too many files");
  current_inode_ = inode;
  return current_.get();
}

Result<> FileStaging::content(uint64_t inode, uint64_t offset, std::string_view pages) {
  if (!are_whole_pages(offset, pages.size())) return fail("content that is not whole pages");
  TRY_ASSIGN(const int file, file_for(inode));
  return write_content(file, offset, pages, applied_ ? open_.at(inode).entry->size() : UINT64_MAX);
}

Result<> FileStaging::zeros(uint64_t inode, uint64_t offset, uint64_t bytes) {
  if (!are_whole_pages(offset, bytes)) return fail("zeros that are not whole pages");
  TRY_ASSIGN(const int file, file_for(inode));
  return write_zeros(file, offset, bytes);
}

Result<> FileStaging::apply(const peer::FileTree& tree) {
  if (applied_) return fail("a second tree of one mount");
  TRY(check_file_tree(tree));
  current_.reset();
  applied_ = true;
  tree_ = tree;
  for (const peer::FileEntry& entry : tree_.entries()) TRY(make(entry));
  TRY(remove_staged());
  // Directories last, and the inner ones first: what is made in one changes its time.
  for (const peer::FileEntry& entry : tree_.entries() | std::views::reverse) {
    if (!S_ISDIR(entry.mode())) continue;
    TRY_ASSIGN(const int parent, parent_of(entry.path()));
    TRY(set_times(parent, entry.path().empty() ? "." : last_name(entry.path()), entry));
  }
  paths_.clear();
  parent_.reset();
  return {};
}

Result<int> FileStaging::parent_of(const std::string& path) {
  std::string parent = parent_path(path);
  if (parent.empty()) return root_.get();
  if (parent_ && parent == parent_path_) return parent_.get();
  TRY_ASSIGN(parent_, open_below(root_.get(), parent, O_PATH | O_DIRECTORY));
  parent_path_ = std::move(parent);
  return parent_.get();
}

Result<> FileStaging::make(const peer::FileEntry& entry) {
  if (entry.path().empty()) return set_attributes(root_.get(), ".", entry);
  const std::string name = last_name(entry.path());
  TRY_ASSIGN(const int parent, parent_of(entry.path()));
  if (S_ISDIR(entry.mode())) {
    if (::mkdirat(parent, name.c_str(), 0700) != 0) return fail_errno("making a directory of the container's");
    return set_attributes(parent, name, entry);
  }
  const auto [first, fresh] = paths_.try_emplace(entry.inode(), entry.path());
  if (!fresh) {
    if (::linkat(root_.get(), first->second.c_str(), parent, name.c_str(), 0) != 0)
      return fail_errno("making a hard link of the container's");
    return {};
  }
  TRY(make_node(entry, parent, name));
  TRY(set_attributes(parent, name, entry));
  return set_times(parent, name, entry);
}

Result<> FileStaging::make_node(const peer::FileEntry& entry, int parent, const std::string& name) {
  if (S_ISREG(entry.mode())) return take_over(entry, parent, name);
  const int made = S_ISLNK(entry.mode()) ? ::symlinkat(entry.target().c_str(), parent, name.c_str())
                                         : ::mknodat(parent, name.c_str(), entry.mode() & S_IFMT, entry.device());
  if (made != 0) return fail_errno("making a file of the container's");
  return {};
}

// A regular file: the staged one, or an empty one.
Result<> FileStaging::take_over(const peer::FileEntry& entry, int parent, const std::string& name) {
  if (::renameat2(staged_.get(), staged_name(entry.inode()).c_str(), parent, name.c_str(), RENAME_NOREPLACE) != 0 &&
      errno != ENOENT)
    return fail_errno("naming a file of the container's");
  ScopedFd file(::openat(parent, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno("making a file of the container's");
  if (::ftruncate(file.get(), static_cast<off_t>(entry.size())) != 0) return fail_errno("setting a file's size");
  if (!entry.open_for_writing()) return {};
  if (open_.size() == kOpenFilesMax) return fail("too many files that are open for writing");
  open_.try_emplace(entry.inode(), std::move(file), &entry);
  return {};
}

Result<> FileStaging::remove_staged() {
  std::error_code error;
  std::filesystem::remove_all(path_of(root_.get(), staged_name_), error);
  if (error) return fail("removing staged files: " + error.message());
  staged_.reset();
  return {};
}

Result<> FileStaging::finish() {
  if (!applied_) return fail("the files of a mount have not come");
  for (const auto& [inode, open] : open_) {
    const timespec times[2] = {{0, UTIME_OMIT}, {open.entry->mtime_s(), open.entry->mtime_ns()}};
    if (::futimens(open.file.get(), times) != 0) return fail_errno("setting a file's time");
  }
  open_.clear();
  tree_.Clear();
  return {};
}

uint64_t FileStaging::used_bytes() const {
  struct statfs facts{};
  if (::fstatfs(root_.get(), &facts) != 0) return 0;
  return static_cast<uint64_t>(facts.f_blocks - facts.f_bfree) * static_cast<uint64_t>(facts.f_bsize);
}

}  // namespace godwit
