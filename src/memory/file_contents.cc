#include "memory/file_contents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace godwit {

namespace {

// Longer than a clock tick (10 ms at CONFIG_HZ=100), at whose rate ctime advances before Linux 6.13.
constexpr int64_t kTicksNs = 40'000'000;

int64_t nanoseconds(const timespec& time) { return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec; }

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);  // the clock of ctime
  return nanoseconds(now);
}

}  // namespace

FileContents::FileContents(ScopedFd root) : root_(std::move(root)) {}

Result<std::unique_ptr<FileContents>> FileContents::create(ScopedFd root) {
  std::unique_ptr<FileContents> contents(new FileContents(std::move(root)));
  struct stat facts{};
  if (::fstat(contents->root_.get(), &facts) != 0) return fail_errno("fstat of a mount");
  contents->device_ = facts.st_dev;
  if (auto watch = FileWatch::start(contents->root_.get()); watch) contents->watch_.emplace(std::move(*watch));
  return contents;
}

// Files that an open file which might write has ended for may have changed after they were read.
Result<> FileContents::note_ends() {
  if (!watch_) return {};
  TRY_ASSIGN(const FileWatch::Ends ends, watch_->take());
  if (ends.all) {
    for (auto& [inode, file] : files_) file.settled = file.by_maps = false;
    return {};
  }
  for (const uint64_t inode : ends.inodes)
    if (auto file = files_.find(inode); file != files_.end()) file->second.settled = false;
  for (const uint64_t inode : ends.modified)
    if (auto file = files_.find(inode); file != files_.end()) file->second.by_maps = false;
  return {};
}

Result<> FileContents::send_changes(ContentSink& sink, const MappedLook& mapped) {
  TRY(note_ends());
  TRY_ASSIGN(const peer::FileTree tree, read_file_tree(root_.get()));
  std::set<uint64_t> seen;
  for (const peer::FileEntry& entry : tree.entries()) {
    if (!S_ISREG(entry.mode()) || !seen.insert(entry.inode()).second) continue;
    const MappedWrites* const written = mapped.of({device_, entry.inode()});
    TRY(look(entry.path(), entry.inode(), {.runs = true, .always = written != nullptr, .written = written}, sink));
  }
  std::erase_if(files_, [&](const auto& file) { return !seen.contains(file.first); });
  return {};
}

// Reads the file if it may differ from what has been sent. False: it was left out.
Result<bool> FileContents::look(const std::string& path, uint64_t inode, const Asked& asked, ContentSink& sink) {
  auto file = open_below(root_.get(), path, O_RDONLY | O_NOATIME);
  struct stat facts{};
  if (file && ::fstat(file->get(), &facts) != 0) return fail_errno("fstat of a file");
  if (!file || facts.st_ino != inode || !S_ISREG(facts.st_mode)) {
    // What is known to have been written of it is not read now.
    if (auto known = files_.find(inode); known != files_.end()) known->second.by_maps = false;
    if (asked.runs) return false;
    return file ? fail("a file has changed in the freeze") : fail(std::move(file.error()));
  }
  File& known = files_[inode];
  const int64_t ctime_ns = nanoseconds(facts.st_ctim);
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (!asked.always && watch_ && known.settled && known.ctime_ns == ctime_ns && known.size == size) return true;
  known.settled = ctime_ns < now_ns() - kTicksNs;
  known.ctime_ns = ctime_ns;
  TRY(read(file->get(), inode, size, asked, sink));
  return true;
}

Result<> FileContents::read(int file, uint64_t inode, uint64_t size, const Asked& asked, ContentSink& sink) {
  File& known = files_.at(inode);
  ContentCopy copy(key_, file, inode, known.pages, sink);
  const bool in_part = asked.always && known.by_maps && known.size == size && (!asked.written || !asked.written->all);
  known.size = size;
  known.by_maps = watch_.has_value();
  if (!in_part) return copy.whole(size);
  if (asked.written)
    for (const PageRange& pages : asked.written->pages)
      TRY(copy.some(pages.start.value / kPageBytes, pages.pages, size));
  return {};
}

Result<peer::FileTree> FileContents::send_last_changes(ContentSink& sink) {
  TRY_ASSIGN(peer::FileTree tree, read_file_tree(root_.get()));
  std::map<uint64_t, bool> open;
  for (peer::FileEntry& entry : *tree.mutable_entries()) {
    if (!S_ISREG(entry.mode())) continue;
    auto [known, fresh] = open.try_emplace(entry.inode(), false);
    if (fresh) {
      TRY_ASSIGN(const ScopedFd file, open_below(root_.get(), entry.path(), O_RDONLY | O_NOATIME));
      known->second = is_open_for_writing(file.get());
      if (known->second) open_.emplace_back(entry.inode(), entry.path());
    }
    entry.set_open_for_writing(known->second);
  }
  // After the question whether they are open: an end is told of before it is counted.
  TRY(note_ends());
  std::set<uint64_t> seen;
  for (const peer::FileEntry& entry : tree.entries())
    if (S_ISREG(entry.mode()) && !entry.open_for_writing() && seen.insert(entry.inode()).second)
      TRY(look(entry.path(), entry.inode(), {.runs = false, .always = false, .written = nullptr}, sink));
  return tree;
}

Result<> FileContents::send_open_files(ContentSink& sink, const MappedLook& mapped) {
  for (const auto& [inode, path] : open_)
    TRY(look(path, inode, {.runs = false, .always = true, .written = mapped.of({device_, inode})}, sink));
  return {};
}

}  // namespace godwit
