// The files of a tmpfs mount, without their content: what peer.FileTree holds. Read on the source, where a container
// may change it meanwhile; checked on the target, where it comes from a peer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "peer.pb.h"

namespace godwit {

// Beyond these a tree is an error.
inline constexpr int kFileEntriesMax = 1 << 18;
inline constexpr int kFileDepthMax = 128;
inline constexpr size_t kFilePathMax = 4095;          // PATH_MAX without the zero
inline constexpr size_t kAttributesBytesMax = 65536;  // of one file; XATTR_LIST_MAX is the same
inline constexpr int kAttributesMax = 256;

// Below the directory ROOT, without following anything out of it. What vanishes meanwhile is left out: while the
// container runs a later reading will see what there is, and when it stands still that can only be CRIU's own.
Result<peer::FileTree> read_file_tree(int root);

// Types, paths, bounds, and that each entry's directory comes before it. Then no path of TREE is "..", absolute, twice
// there, or below anything but a directory of the same tree.
Result<> check_file_tree(const peer::FileTree& tree);

// The regular file or directory PATH below ROOT, of which no component is a symbolic link or another mount.
Result<ScopedFd> open_below(int root, const std::string& path, int flags);

// "a/b" and "c" of "a/b/c"; "" and "c" of "c".
std::string parent_path(const std::string& path);
std::string last_name(const std::string& path);

}  // namespace godwit
