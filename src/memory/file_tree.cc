#include "memory/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <set>
#include <vector>

#include "wire/frame.h"

namespace godwit {

namespace {

// Attributes that a file's owner or administrator gives it; others (security.selinux, …) are the host's.
bool travels(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.") || name == "security.capability" ||
         name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

std::string link_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<> read_attributes(int file, peer::FileEntry& entry) {
  const std::string path = link_of(file);
  if (::listxattr(path.c_str(), nullptr, 0) == 0) return {};  // nearly always
  std::string names(kAttributesBytesMax, '\0');
  const ssize_t bytes = ::listxattr(path.c_str(), names.data(), names.size());
  if (bytes < 0 && errno == EOPNOTSUPP) return {};
  if (bytes < 0) return fail_errno("listing extended attributes");
  names.resize(static_cast<size_t>(bytes));
  std::string value(kAttributesBytesMax, '\0');
  for (size_t at = 0; at < names.size();) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    if (!travels(name)) continue;
    const ssize_t length = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (length < 0 && errno == ENODATA) continue;
    if (length < 0) return fail_errno("reading extended attribute " + name);
    peer::ExtendedAttribute& attribute = *entry.add_attributes();
    attribute.set_name(name);
    attribute.set_value(value.data(), static_cast<size_t>(length));
  }
  return {};
}

// FILE may be open with O_PATH.
Result<peer::FileEntry> read_entry(int file, const std::string& path) {
  struct stat facts{};
  if (::fstatat(file, "", &facts, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("fstat");
  peer::FileEntry entry;
  entry.set_path(path);
  entry.set_mode(facts.st_mode);
  entry.set_uid(facts.st_uid);
  entry.set_gid(facts.st_gid);
  entry.set_mtime_s(facts.st_mtim.tv_sec);
  entry.set_mtime_ns(static_cast<uint32_t>(facts.st_mtim.tv_nsec));
  entry.set_inode(facts.st_ino);
  if (S_ISREG(facts.st_mode)) entry.set_size(static_cast<uint64_t>(facts.st_size));
  if (S_ISCHR(facts.st_mode) || S_ISBLK(facts.st_mode)) entry.set_device(facts.st_rdev);
  if (S_ISLNK(facts.st_mode)) {
    std::string target(kFilePathMax + 1, '\0');
    const ssize_t length = ::readlinkat(file, "", target.data(), target.size());
    if (length < 0) return fail_errno("reading a symbolic link");
    entry.set_target(target.data(), static_cast<size_t>(length));
  }
  TRY(read_attributes(file, entry));
  return entry;
}

// Reads one tree, directory by directory.
class Walk {
 public:
  Result<> begin(int root) {
    TRY_ASSIGN(*tree_.add_entries(), read_entry(root, ""));
    device_ = device_of(root);
    return descend(root, "", 1);
  }
  peer::FileTree take() { return std::move(tree_); }

 private:
  static dev_t device_of(int file) {
    struct stat facts{};
    return ::fstatat(file, "", &facts, AT_EMPTY_PATH) == 0 ? facts.st_dev : 0;
  }

  // A vanished entry is none.
  static bool left_out(const Error& error) { return error.code() == ENOENT || error.code() == ENOTDIR; }

  static Result<std::vector<std::string>> names_in(int directory) {
    ScopedFd listing(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!listing) return fail_errno("opening a directory");
    DIR* entries = ::fdopendir(listing.get());
    if (entries == nullptr) return fail_errno("listing a directory");
    (void)listing.release();
    std::vector<std::string> names;
    while (const dirent* found = ::readdir(entries)) {
      const std::string name = found->d_name;
      if (name != "." && name != "..") names.push_back(name);
      if (names.size() > static_cast<size_t>(kFileEntriesMax)) break;
    }
    ::closedir(entries);
    return names;
  }

  Result<> descend(int directory, const std::string& path, int depth) {
    if (depth > kFileDepthMax) return fail("directories nested deeper than " + std::to_string(kFileDepthMax));
    // Names first: while entries are looked at, a directory that grows would be read without end.
    TRY_ASSIGN(const auto names, names_in(directory));
    for (const std::string& name : names)
      if (auto added = add(directory, path.empty() ? name : path + "/" + name, name, depth);
          !added && !left_out(added.error()))
        return added;
    return {};
  }

  Result<> add(int directory, const std::string& path, const std::string& name, int depth) {
    if (tree_.entries_size() >= kFileEntriesMax || bytes_ > wire::kFileTreeBytesMax / 2) return too_many();
    if (path.size() > kFilePathMax) return fail("a path of more than " + std::to_string(kFilePathMax) + " bytes");
    ScopedFd file(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return fail_errno("opening a file");
    if (device_of(file.get()) != device_) return fail("another file system below a detached mount");
    TRY_ASSIGN(auto entry, read_entry(file.get(), path));
    bytes_ += entry.ByteSizeLong();
    const bool is_directory = S_ISDIR(entry.mode());
    *tree_.add_entries() = std::move(entry);
    return is_directory ? descend(file.get(), path, depth + 1) : Result<>();
  }

  static std::unexpected<Error> too_many() { return fail("more files than godwit carries"); }

  dev_t device_ = 0;
  size_t bytes_ = 0;
  peer::FileTree tree_;
};

bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= NAME_MAX &&
         name.find('\0') == std::string_view::npos;
}

Result<> check_entry(const peer::FileEntry& entry) {
  constexpr uint32_t kTypes[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
  if ((entry.mode() & ~uint32_t{S_IFMT | 07777}) != 0 || !std::ranges::count(kTypes, entry.mode() & S_IFMT))
    return fail("file of mode " + std::to_string(entry.mode()));
  if (entry.mtime_ns() > 999'999'999) return fail("file with a time that is none");
  if (entry.size() > wire::kImageBytesMax) return fail("file of " + std::to_string(entry.size()) + " bytes");
  const bool is_link = S_ISLNK(entry.mode());
  if (is_link != !entry.target().empty() || entry.target().size() > kFilePathMax ||
      entry.target().find('\0') != std::string::npos)
    return fail("symbolic link without a proper target");
  size_t bytes = 0;
  for (const peer::ExtendedAttribute& attribute : entry.attributes()) {
    bytes += attribute.name().size() + attribute.value().size();
    if (!travels(attribute.name()) || attribute.name().size() > XATTR_NAME_MAX ||
        attribute.name().find('\0') != std::string::npos)
      return fail("extended attribute that does not travel");
  }
  if (entry.attributes_size() > kAttributesMax || bytes > 2 * kAttributesBytesMax)
    return fail("too many extended attributes");
  return {};
}

}  // namespace

std::string parent_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string last_name(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

Result<peer::FileTree> read_file_tree(int root) {
  Walk walk;
  TRY(walk.begin(root));
  return walk.take();
}

Result<> check_file_tree(const peer::FileTree& tree) {
  if (tree.entries_size() == 0 || tree.entries_size() > kFileEntriesMax)
    return fail("tree of " + std::to_string(tree.entries_size()) + " files");
  if (!tree.entries(0).path().empty() || !S_ISDIR(tree.entries(0).mode())) return fail("tree without a root directory");
  std::set<std::string_view> paths{""};
  std::set<std::string> directories{""};
  for (const peer::FileEntry& entry : tree.entries()) {
    TRY(check_entry(entry));
    const std::string& path = entry.path();
    if (&entry == &tree.entries(0)) continue;
    if (path.starts_with('/') || path.size() > kFilePathMax || std::ranges::count(path, '/') >= kFileDepthMax ||
        !is_name(last_name(path)) || !directories.contains(parent_path(path)))
      return fail("file with a path that cannot be");
    if (!paths.insert(path).second) return fail("two files of one path");
    if (S_ISDIR(entry.mode())) directories.insert(path);
  }
  return {};
}

Result<ScopedFd> open_below(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if ((flags & O_PATH) != 0) how.flags &= ~uint64_t{O_NONBLOCK};
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  ScopedFd file(static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!file) return fail_errno("opening a file");
  return file;
}

}  // namespace godwit
