#include "migration/image_channel.h"

#include "wire/frame.h"

namespace godwit {

class ImageSending::Sink : public ImageSink {
 public:
  Sink(DataConnection& connection, std::function<void(uint64_t)> progress)
      : connection_(connection), progress_(std::move(progress)) {}

  Result<> begin(uint32_t file, const std::string& name) override {
    return connection_.send_frame({.type = wire::FrameType::kFileBegin, .index = file}, name);
  }
  Result<> data(uint32_t file, uint64_t offset, std::string_view bytes) override {
    TRY(connection_.send_frame({.type = wire::FrameType::kFileData, .index = file, .offset = offset}, bytes));
    sent_ += bytes.size();
    progress_(sent_);
    return {};
  }
  Result<> end(uint32_t file, uint64_t size) override {
    return connection_.send_frame({.type = wire::FrameType::kFileEnd, .index = file, .offset = size});
  }

 private:
  DataConnection& connection_;
  std::function<void(uint64_t)> progress_;
  uint64_t sent_ = 0;
};

ImageSending::ImageSending(std::filesystem::path directory, std::unique_ptr<DataConnection> connection,
                           std::function<void(uint64_t)> progress)
    : connection_(std::move(connection)),
      sink_(std::make_unique<Sink>(*connection_, std::move(progress))),
      reader_(std::move(directory), *sink_) {
  thread_ = std::thread([this] { result_ = reader_.run(dumped_, cancelled_); });
}

ImageSending::~ImageSending() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

Result<> ImageSending::finish() {
  dumped_ = true;
  if (thread_.joinable()) thread_.join();
  TRY(result_);
  return connection_->send_frame(
      {.type = wire::FrameType::kImagesEnd, .index = reader_.files(), .offset = reader_.bytes()});
}

void ImageSending::cancel() {
  cancelled_ = true;
  connection_->cancel();
}

ImageReceiving::ImageReceiving(std::filesystem::path directory, uint64_t bytes_max,
                               std::unique_ptr<DataConnection> connection)
    : connection_(std::move(connection)), writer_(std::move(directory), bytes_max) {
  // Nothing may come for as long as the container runs on the source: the source decides when to freeze.
  connection_->set_idle_limit(std::chrono::hours(1));
  thread_ = std::thread([this] {
    result_ = receive();
    if (!result_) connection_->cancel();  // the sender must not wait for a reader that has given up
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
  for (;;) {
    TRY_ASSIGN(wire::FrameHeader header, connection_->receive_frame(payload));
    switch (header.type) {
      case wire::FrameType::kFileBegin:
        TRY(writer_.begin(header.index, payload));
        break;
      case wire::FrameType::kFileData:
        TRY(writer_.data(header.index, header.offset, payload));
        break;
      case wire::FrameType::kFileEnd:
        TRY(writer_.end(header.index, header.offset));
        break;
      case wire::FrameType::kImagesEnd:
        if (header.index != writer_.files_complete() || header.offset != writer_.bytes())
          return fail("the source counts other images than have arrived");
        return {};
    }
  }
}

}  // namespace godwit
