// CRIU's image files on their way: read on the source while CRIU still writes them, written on the target as they
// arrive. Both directories are on a tmpfs of ours.
//
// CRIU writes its large files, pages-N.img, from front to back, so what is there can be sent at once; what has been
// sent is punched out of the file again, so that the source does not need the container's memory twice. The small
// files are sent whole as soon as the dump is complete, before what is left of the large ones: with them the target
// begins to restore.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// Where the bytes of image files go; implemented over a data connection.
class ImageSink {
 public:
  virtual ~ImageSink() = default;
  virtual Result<> begin(uint32_t file, const std::string& name) = 0;
  virtual Result<> data(uint32_t file, uint64_t offset, std::string_view bytes) = 0;
  virtual Result<> end(uint32_t file, uint64_t size) = 0;
  // All files but pages-N.img have ended; FILES of them.
  virtual Result<> small_files_end(uint32_t files) = 0;
};

class ImageReader {
 public:
  ImageReader(std::filesystem::path directory, ImageSink& sink) : directory_(std::move(directory)), sink_(sink) {}

  // Sends what CRIU has written so far, again and again, until DUMPED is set and everything has been sent; the rest
  // of the files follows. Runs in a thread of its own; WAKE (an eventfd) makes it look at the flags.
  Result<> run(const std::atomic<bool>& dumped, const std::atomic<bool>& cancelled, int wake);

  uint32_t files() const { return next_file_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct PagesFile {
    ScopedFd fd;
    uint32_t number;
    uint64_t sent = 0;
  };
  Result<bool> read_events();
  Result<bool> send_new_pages();
  Result<> find_pages_files();
  Result<uint64_t> send_growth(PagesFile& file);
  Result<> send_small_files();
  Result<> send_whole(const std::filesystem::path& path);

  std::filesystem::path directory_;
  ImageSink& sink_;
  ScopedFd watch_;  // not closed by run(): the kernel takes up to 15 ms for that
  std::map<std::string, PagesFile> pages_;
  std::set<std::string> sent_early_;  // small files that were complete while CRIU was still dumping
  std::string buffer_;                // of small files
  bool small_files_sent_ = false;
  uint32_t next_file_ = 0;
  uint64_t bytes_ = 0;
};

// Target side; everything given to it comes from a peer.
class ImageWriter {
 public:
  ImageWriter(std::filesystem::path directory, uint64_t bytes_max)
      : directory_(std::move(directory)), bytes_max_(bytes_max) {}

  // Takes BYTES of memory for the first of the large files now, while nobody waits: the kernel's part of writing new
  // pages is most of what writing an image costs.
  Result<> reserve(uint64_t bytes);

  Result<> begin(uint32_t file, std::string_view name);
  Result<> data(uint32_t file, uint64_t offset, std::string_view bytes);
  Result<> end(uint32_t file, uint64_t size);

  uint32_t files_complete() const { return files_complete_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct OpenImage {
    ScopedFd fd;
    uint64_t size = 0;
    bool complete = false;
  };
  Result<OpenImage*> open_image(uint32_t file);

  std::filesystem::path directory_;
  bool reserved_ = false;
  uint64_t bytes_max_;
  std::map<uint32_t, OpenImage> images_;
  std::map<std::string, uint32_t, std::less<>> names_;
  uint32_t files_complete_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace godwit
