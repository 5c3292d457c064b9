// For tests: results that must be there, deadlines, a directory that goes away.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "base/clock.h"
#include "base/result.h"

namespace godwit {

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());  // ends the test, whatever it was about
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline Deadline in_ms(int ms) { return Clock::now() + milliseconds(ms); }

class ScopedDirectory {
 public:
  ScopedDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "godwit-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ScopedDirectory(const ScopedDirectory&) = delete;
  ScopedDirectory& operator=(const ScopedDirectory&) = delete;
  ~ScopedDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace godwit
