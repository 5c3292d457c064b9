#include "runtime/image_dir.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "runtime/connection_images.h"
#include "runtime/helpers/connection_pack.h"
#include "wire/frame.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

constexpr size_t kChunk = wire::kFramePayloadMax;
constexpr uint64_t kPageBytes = 4096;  // x86-64's; CRIU's images are in these
constexpr const char* kReservedName = ".reserved";
// Log files and CRIU's statistics stay on the source.
bool is_wanted(const std::string& name) { return name.ends_with(".img") && wire::check_image_name(name).has_value(); }
bool is_pages_file(const std::string& name) { return name.starts_with("pages-") && is_wanted(name); }
// One for each TCP connection that is not in the pack, which CRIU opens, writes and closes once. There may be ten
// thousand.
bool is_connection_file(const std::string& name) { return name.starts_with("tcp-stream-") && is_wanted(name); }

}  // namespace

Result<> ImageReader::run(const std::atomic<bool>& dumped, const std::atomic<bool>& cancelled, int wake) {
  buffer_.resize(kChunk);
  watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch_) return fail_errno("inotify");
  if (::inotify_add_watch(watch_.get(), directory_.c_str(), IN_CREATE | IN_CLOSE_WRITE) < 0)
    return fail_errno("inotify " + directory_.string());
  TRY(find_pages_files());
  for (;;) {
    if (cancelled) return fail("cancelled");
    const bool last = dumped;  // read before the files: nothing is written after it
    TRY_ASSIGN(const bool new_files, read_events());
    if (new_files || last) TRY(find_pages_files());
    if (last && !small_files_sent_) TRY(send_small_files());
    TRY_ASSIGN(bool sent, send_new_pages());
    if (sent) continue;
    if (last) break;
    pollfd items[2] = {{watch_.get(), POLLIN, 0}, {wake, POLLIN, 0}};
    ::poll(items, 2, -1);
  }
  for (auto& [name, file] : pages_) TRY(sink_.end(file.number, file.sent));
  return {};
}

// Sends the connections that CRIU is done with. True if there may be pages files that are not known yet.
Result<bool> ImageReader::read_events() {
  bool new_files = false;
  alignas(inotify_event) char events[16384];
  for (ssize_t got; (got = ::read(watch_.get(), events, sizeof events)) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(events + at);
      at += static_cast<ssize_t>(sizeof *event + event->len);
      const std::string name = event->len > 0 ? event->name : "";
      // Events that were lost (IN_Q_OVERFLOW): the files are found when the dump is complete.
      new_files |= (event->mask & IN_Q_OVERFLOW) != 0 || is_pages_file(name);
      if ((event->mask & IN_CLOSE_WRITE) == 0 || !is_connection_file(name) || !sent_early_.insert(name).second)
        continue;
      TRY(send_whole(directory_ / name));
    }
  }
  return new_files;
}

Result<> ImageReader::find_pages_files() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    if (!is_pages_file(name) || pages_.contains(name)) continue;
    TRY_ASSIGN(ScopedFd fd, open_file(entry.path(), O_RDWR));
    if (::inotify_add_watch(watch_.get(), entry.path().c_str(), IN_MODIFY) < 0) return fail_errno("inotify " + name);
    const uint32_t number = next_file_++;
    TRY(sink_.begin(number, name));
    pages_.emplace(name, PagesFile{std::move(fd), number});
  }
  return {};
}

// True if something was sent.
Result<bool> ImageReader::send_new_pages() {
  bool sent = false;
  for (auto& [name, file] : pages_) {
    TRY_ASSIGN(uint64_t bytes, send_growth(file));
    sent = sent || bytes > 0;
  }
  return sent;
}

// CRIU writes whole pages; what is sent is read in place, without a copy.
Result<uint64_t> ImageReader::send_growth(PagesFile& file) {
  struct stat facts{};
  if (::fstat(file.fd.get(), &facts) != 0) return fail_errno("fstat an image");
  const uint64_t whole = static_cast<uint64_t>(facts.st_size) / kPageBytes * kPageBytes;
  const uint64_t bytes = std::min<uint64_t>(whole - file.sent, kChunk);
  if (bytes == 0) return 0;
  const auto offset = static_cast<off_t>(file.sent);
  void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file.fd.get(), offset);
  if (mapped == MAP_FAILED) return fail_errno("map an image");
  Result<> sent = sink_.data(file.number, file.sent, {static_cast<const char*>(mapped), bytes});
  ::munmap(mapped, bytes);
  TRY(sent);
  ::fallocate(file.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, static_cast<off_t>(bytes));
  file.sent += bytes;
  bytes_ += bytes;
  return bytes;
}

Result<> ImageReader::send_small_files() {
  auto ended = static_cast<uint32_t>(sent_early_.size());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    if (!is_wanted(name) || is_pages_file(name) || sent_early_.contains(name)) continue;
    TRY(send_whole(entry.path()));
    ++ended;
  }
  small_files_sent_ = true;
  return sink_.small_files_end(ended);
}

Result<> ImageReader::send_whole(const fs::path& path) {
  TRY_ASSIGN(ScopedFd fd, open_file(path, O_RDONLY));
  const uint32_t number = next_file_++;
  TRY(sink_.begin(number, path.filename().string()));
  uint64_t offset = 0, end = UINT64_MAX;
  while (offset < end) {
    ssize_t got = ::read(fd.get(), buffer_.data(), std::min<uint64_t>(buffer_.size(), end - offset));
    if (got < 0) return fail_errno("read " + path.string());
    if (got == 0) break;
    if (offset == 0 && path.filename() == godwit_pack::kPackName) {
      TRY_ASSIGN(end, connection_pack_bytes({buffer_.data(), static_cast<size_t>(got)}));
      got = static_cast<ssize_t>(std::min<uint64_t>(static_cast<uint64_t>(got), end));
    }
    TRY(sink_.data(number, offset, std::string_view(buffer_).substr(0, static_cast<size_t>(got))));
    offset += static_cast<uint64_t>(got);
  }
  bytes_ += offset;
  return sink_.end(number, offset);
}

// CRIU reads them as root of the container's user namespace, too, through its descriptor of the directory. Nobody else
// gets there: what is above is for root only.
constexpr mode_t kMode = 0644;

Result<> ImageWriter::reserve(uint64_t bytes) {
  if (bytes == 0) return {};
  TRY_ASSIGN(ScopedFd fd, open_file(directory_ / kReservedName, O_RDWR | O_CREAT | O_EXCL));
  const auto size = static_cast<off_t>(std::min(bytes, bytes_max_));
  if (::fallocate(fd.get(), 0, 0, size) != 0) return fail_errno("take memory for the images");
  reserved_ = true;
  return {};
}

Result<> ImageWriter::begin(uint32_t file, std::string_view name) {
  TRY(wire::check_image_name(name));
  if (images_.size() >= wire::kImageFilesMax) return fail("too many image files");
  if (images_.contains(file) || names_.contains(name)) return fail("an image file was sent twice");
  if (reserved_ && is_pages_file(std::string(name))) {
    reserved_ = false;
    if (::rename((directory_ / kReservedName).c_str(), (directory_ / name).c_str()) != 0) return fail_errno("rename");
  }
  TRY_ASSIGN(ScopedFd fd, open_file(directory_ / name, O_RDWR | O_CREAT | O_NOFOLLOW));
  if (::fchmod(fd.get(), kMode) != 0) return fail_errno("fchmod of an image");
  images_.emplace(file, OpenImage{std::move(fd)});
  names_.emplace(name, file);
  return {};
}

Result<ImageWriter::OpenImage*> ImageWriter::open_image(uint32_t file) {
  auto found = images_.find(file);
  if (found == images_.end()) return fail("data of an image that was not begun");
  if (found->second.complete) return fail("data of an image that has ended");
  return &found->second;
}

Result<> ImageWriter::data(uint32_t file, uint64_t offset, std::string_view bytes) {
  TRY_ASSIGN(OpenImage * image, open_image(file));
  if (offset != image->size) return fail("image data is not in order");
  if (bytes.size() > bytes_max_ - bytes_) return fail("the images are larger than was announced");
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(image->fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(image->size));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("write an image into memory");
    bytes.remove_prefix(static_cast<size_t>(put));
    image->size += static_cast<uint64_t>(put);
    bytes_ += static_cast<uint64_t>(put);
  }
  return {};
}

Result<> ImageWriter::end(uint32_t file, uint64_t size) {
  TRY_ASSIGN(OpenImage * image, open_image(file));
  if (image->size != size) return fail("an image arrived with another size than it was sent with");
  if (::ftruncate(image->fd.get(), static_cast<off_t>(size)) != 0) return fail_errno("ftruncate");  // reserved too much
  image->complete = true;
  image->fd.reset();
  ++files_complete_;
  return {};
}

}  // namespace godwit
