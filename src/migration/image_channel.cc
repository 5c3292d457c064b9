#include "migration/image_channel.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "transport/gathered_frames.h"
#include "transport/socket.h"
#include "wire/frame.h"

namespace godwit {

namespace {

// From here on a round trip is a part of the downtime that is worth a few more of them beforehand.
constexpr std::chrono::microseconds kLongWay{2'000};
// Bytes. The images of most containers are smaller: some 60 kB for a process, and what CRIU has to carry of its memory.
constexpr double kWorthOpening = 1 << 20;
// A guess where nobody knows what the link carries: 10 Mbit/s and 100 ms, 100 Mbit/s and 10 ms.
constexpr double kUnderWayAtLeast = 128 << 10;
// TCP begins with ten segments (RFC 6928) and doubles: seven for kWorthOpening, and some that are late.
constexpr int kRoundTripsOfOpening = 12;

}  // namespace

class ImageSending::Sink : public ImageSink {
 public:
  Sink(DataConnection& connection, std::function<void(uint64_t)> progress)
      : frames_(connection), progress_(std::move(progress)) {}

  Result<> begin(uint32_t file, const std::string& name) override {
    if (name.starts_with("pages-")) memory_files_.emplace(file, Stopwatch());
    return send({.type = wire::FrameType::kFileBegin, .index = file}, name);
  }
  Result<> data(uint32_t file, uint64_t offset, std::string_view bytes) override {
    TRY(send({.type = wire::FrameType::kFileData, .index = file, .offset = offset}, bytes));
    sent_ += bytes.size();
    progress_(sent_);
    if (auto memory = memory_files_.find(file); memory != memory_files_.end()) {
      memory_.bytes += bytes.size();
      memory_.ms = memory_files_.begin()->second.ms();
    }
    return {};
  }
  Result<> end(uint32_t file, uint64_t size) override {
    return send({.type = wire::FrameType::kFileEnd, .index = file, .offset = size}, {});
  }
  Result<> small_files_end(uint32_t files) override {
    TRY(send({.type = wire::FrameType::kSmallFilesEnd, .index = files}, {}));
    return flush();
  }
  Result<> filler(size_t bytes) {
    const std::string nothing(wire::kFramePayloadMax / 4, '\0');
    for (size_t left = bytes; left > 0; left -= std::min(left, nothing.size()))
      TRY(send({.type = wire::FrameType::kFiller}, std::string_view(nothing).substr(0, left)));
    return flush();
  }
  const Memory& memory() const { return memory_; }
  Result<> images_end(uint32_t files, uint64_t bytes) {
    TRY(send({.type = wire::FrameType::kImagesEnd, .index = files, .offset = bytes}, {}));
    return flush();
  }

 private:
  Result<> send(wire::FrameHeader header, std::string_view payload) {
    std::lock_guard lock(mutex_);
    return frames_.send(header, {}, payload);
  }
  Result<> flush() {
    std::lock_guard lock(mutex_);
    return frames_.flush();
  }

  std::mutex mutex_;       // filler comes from another thread
  GatheredFrames frames_;  // a container has some sixty image files of a few hundred bytes
  std::function<void(uint64_t)> progress_;
  uint64_t sent_ = 0;
  std::map<uint32_t, Stopwatch> memory_files_;  // since when, in the order of coming
  Memory memory_;
};

ImageSending::ImageSending(std::filesystem::path directory, std::unique_ptr<DataConnection> connection,
                           std::function<void(uint64_t)> progress)
    : connection_(std::move(connection)),
      sink_(std::make_unique<Sink>(*connection_, std::move(progress))),
      reader_(std::move(directory), *sink_) {
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this] {
    result_ = reader_.run(dumped_, cancelled_, wake_.get());
    if (result_) result_ = sink_->images_end(reader_.files(), reader_.bytes());
  });
}

ImageSending::~ImageSending() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

void ImageSending::dump_is_complete() {
  dumped_ = true;
  ::eventfd_write(wake_.get(), 1);
}

Result<> ImageSending::finish() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

// In the manner of slow start (RFC 5681, 3.1) each acknowledged segment lets two follow: to get used to what is under
// way at once on the whole way, its bytes have to go over it twice.
Result<> ImageSending::open_the_way(double bytes_per_ms) {
  const auto round_trip = shortest_round_trip(connection_->socket());
  if (!round_trip || *round_trip < kLongWay || connection_->hello().version_minor < 1) return {};
  const double under_way = bytes_per_ms > 0
                               ? bytes_per_ms * std::chrono::duration<double, std::milli>(*round_trip).count()
                               : kUnderWayAtLeast;
  const auto bytes = static_cast<size_t>(2 * std::min(under_way, kWorthOpening));
  filler_bytes_ = bytes;
  TRY(sink_->filler(bytes));
  const auto deadline = Clock::now() + kRoundTripsOfOpening * *round_trip;
  while (unacknowledged_bytes(connection_->socket()) > 0 && Clock::now() < deadline && !cancelled_)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return {};
}

ImageSending::Memory ImageSending::memory() const { return sink_->memory(); }

void ImageSending::cancel() {
  cancelled_ = true;
  ::eventfd_write(wake_.get(), 1);
  connection_->cancel();
}

ImageReceiving::ImageReceiving(ImageWriter writer, std::unique_ptr<DataConnection> connection)
    : connection_(std::move(connection)), writer_(std::move(writer)) {
  // Nothing may come for as long as the container runs on the source: the source decides when to freeze.
  connection_->set_idle_limit(std::chrono::hours(1));
  thread_ = std::thread([this] {
    result_ = receive();
    failed_ = !result_.has_value();
    if (failed_) connection_->cancel();  // the sender must not wait for a reader that has given up
    if (!small_files_.try_wait()) small_files_.count_down();
  });
}

ImageReceiving::~ImageReceiving() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

Result<> ImageReceiving::finish() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

void ImageReceiving::cancel() { connection_->cancel(); }

Result<> ImageReceiving::receive() {
  std::string payload;
  while (!complete_) {
    TRY_ASSIGN(wire::FrameHeader header, connection_->receive_frame(payload));
    TRY(take(header, payload));
  }
  return {};
}

Result<> ImageReceiving::take(const wire::FrameHeader& header, const std::string& payload) {
  switch (header.type) {
    case wire::FrameType::kFiller:
      filler_bytes_ += header.length;
      return filler_bytes_ > wire::kFillerBytesMax ? fail("more filler than is of any use") : Result<>();
    case wire::FrameType::kFileBegin:
      return writer_.begin(header.index, payload);
    case wire::FrameType::kFileData:
      return writer_.data(header.index, header.offset, payload);
    case wire::FrameType::kFileEnd:
      return writer_.end(header.index, header.offset);
    case wire::FrameType::kSmallFilesEnd:
      if (header.index != writer_.files_complete() || small_files_.try_wait())
        return fail("the source counts other small images than have arrived");
      small_files_.count_down();
      return {};
    case wire::FrameType::kImagesEnd:
      if (header.index != writer_.files_complete() || header.offset != writer_.bytes())
        return fail("the source counts other images than have arrived");
      complete_ = true;
      return {};
    default:
      return fail("a frame that has no place among images");
  }
}

}  // namespace godwit
