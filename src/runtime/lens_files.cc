#include "runtime/lens_files.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/file.h"

namespace godwit {

namespace {

// A program that says which dynamic loader it wants; without one nothing can be preloaded.
bool has_interpreter(const std::string& file) {
  Elf64_Ehdr header{};
  if (file.size() < sizeof header) return false;
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr)) return false;
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    const size_t at = header.e_phoff + i * sizeof segment;
    if (at > file.size() || file.size() - at < sizeof segment) return false;
    std::memcpy(&segment, file.data() + at, sizeof segment);
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

Result<> write_lens(const std::filesystem::path& directory, pid_t pid, const PageRanges& owned,
                    const std::string& smaps, bool unguarded) {
  std::vector<uint64_t> pairs;
  pairs.reserve(owned.size() * 2);
  for (const PageRange& range : owned) {
    pairs.push_back(range.start.value);
    pairs.push_back(range.end().value);
  }
  const std::string name = std::to_string(pid);
  TRY(write_file(directory / (name + ".owned"),
                 {reinterpret_cast<const char*>(pairs.data()), pairs.size() * sizeof(uint64_t)}));
  if (unguarded) TRY(write_file(directory / (name + ".unguarded"), ""));
  return smaps.empty() ? Result<>() : write_file(directory / (name + ".smaps"), smaps);
}

Result<> write_lens_objects(const std::filesystem::path& directory,
                            const std::vector<std::pair<uint64_t, uint64_t>>& objects) {
  std::vector<uint64_t> numbers;
  for (const auto& [device, inode] : objects) numbers.insert(numbers.end(), {device, inode});
  return write_file(directory / "objects",
                    {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(uint64_t)});
}

Result<> write_lens_unlocked_sockets(const std::filesystem::path& directory) {
  return write_file(directory / "unlocked_sockets", "");
}

Result<> check_lens(const std::filesystem::path& library, const std::filesystem::path& criu) {
  constexpr size_t kHeadBytes = 65536;  // program headers follow the ELF header at once
  if (!std::filesystem::exists(library)) return fail(library.string() + " is missing");
  struct stat entry{};
  if (::stat(criu.c_str(), &entry) != 0) return fail_errno(criu.string());
  if ((entry.st_mode & (S_ISUID | S_ISGID)) != 0)
    return fail(criu.string() + " is set-user-id: nothing can be preloaded");
  TRY_ASSIGN(ScopedFd fd, open_file(criu, O_RDONLY));
  std::string head(kHeadBytes, '\0');
  const ssize_t got = ::pread(fd.get(), head.data(), head.size(), 0);
  head.resize(got < 0 ? 0 : static_cast<size_t>(got));
  if (!has_interpreter(head)) return fail(criu.string() + " is a static program: nothing can be preloaded");
  return {};
}

}  // namespace godwit
