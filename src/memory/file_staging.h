// Makes the files of a tmpfs mount, on the target. Content comes before the files have names, while the container runs
// on the source: it waits in a directory of the same file system, in files named after their inode numbers, and takes
// no other memory later. All that comes is a peer's.
//
//   content, zeros …   apply(tree)   content, zeros … of open files   finish()
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "memory/file_tree.h"

namespace godwit {

class FileStaging {
 public:
  // ROOT: an empty tmpfs that nobody else uses.
  static Result<std::unique_ptr<FileStaging>> create(const std::filesystem::path& root);

  // Whole pages of the file that has the inode number INODE on the source.
  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages);
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes);
  // Gives every file its name, size, owner, mode, attributes and times; what TREE does not name is removed.
  Result<> apply(const peer::FileTree& tree);
  // No more content comes.
  Result<> finish();

  bool awaits_content() const { return !open_.empty(); }
  uint64_t used_bytes() const;

 private:
  struct Open {
    ScopedFd file;
    const peer::FileEntry* entry;
  };

  FileStaging() = default;
  Result<int> file_for(uint64_t inode);
  Result<> make(const peer::FileEntry& entry);
  Result<> make_node(const peer::FileEntry& entry, int parent, const std::string& name);
  Result<> take_over(const peer::FileEntry& entry, int parent, const std::string& name);
  Result<int> parent_of(const std::string& path);
  Result<> remove_staged();

  ScopedFd root_;
  ScopedFd staged_;
  std::string staged_name_;
  ScopedFd current_;  // the staged file that content came for last
  uint64_t current_inode_ = 0;
  uint64_t staged_files_ = 0;

  peer::FileTree tree_;  // once it is applied
  bool applied_ = false;
  std::map<uint64_t, std::string> paths_;  // of inodes, while it is applied
  std::string parent_path_;                // of the directory that is open
  ScopedFd parent_;
  std::map<uint64_t, Open> open_;  // files that more content may come for
};

}  // namespace godwit
