// A tmpfs of our own: where images live while they are in flight. Bounded, and gone at once when
// unmounted.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"

namespace godwit {

// True if PATH is on a tmpfs (or ramfs): nothing written there reaches a disk.
Result<bool> is_on_tmpfs(const std::filesystem::path& path);

class ScopedTmpfs {
 public:
  // Makes the directory PATH and mounts a tmpfs of at most BYTES_MAX bytes on it (mode 0700).
  static Result<ScopedTmpfs> mount(std::filesystem::path path, uint64_t bytes_max);
  ScopedTmpfs(ScopedTmpfs&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScopedTmpfs& operator=(ScopedTmpfs&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~ScopedTmpfs();  // unmounts (lazily: a late reader keeps it until it closes) and removes the
                   // directory

  // It stays mounted.
  void keep() { path_.clear(); }
  const std::filesystem::path& path() const { return path_; }
  // Bytes in use now.
  uint64_t used_bytes() const;

 private:
  explicit ScopedTmpfs(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace godwit
