#include "runtime/image_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/test_support.h"
#include "runtime/helpers/connection_pack.h"
#include "wire/frame.h"

namespace godwit {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// Passes on what it is given and remembers its order.
class WriterSink : public ImageSink {
 public:
  explicit WriterSink(ImageWriter& writer) : writer_(writer) {}
  Result<> begin(uint32_t file, const std::string& name) override {
    log.push_back("begin " + name);
    return writer_.begin(file, name);
  }
  Result<> data(uint32_t file, uint64_t offset, std::string_view bytes) override {
    log.push_back("data");
    if (on_data) on_data();
    return writer_.data(file, offset, bytes);
  }
  Result<> end(uint32_t file, uint64_t size) override {
    log.push_back("end");
    return writer_.end(file, size);
  }
  Result<> small_files_end(uint32_t files) override {
    log.push_back("small " + std::to_string(files));
    return {};
  }
  std::vector<std::string> log;
  std::function<void()> on_data;

 private:
  ImageWriter& writer_;
};

class ImageDirTest : public testing::Test {
 protected:
  ImageDirTest() : wake_(::eventfd(0, EFD_CLOEXEC)) {
    must(make_directories(from()));
    must(make_directories(to()));
  }
  std::filesystem::path from() const { return directory_ / "from"; }
  std::filesystem::path to() const { return directory_ / "to"; }
  Result<> run(ImageReader& reader) { return reader.run(dumped_, cancelled_, wake_.get()); }
  void set(std::atomic<bool>& flag) {
    flag = true;
    ::eventfd_write(wake_.get(), 1);
  }

  ScopedDirectory directory_;
  ScopedFd wake_;
  std::atomic<bool> dumped_ = false, cancelled_ = false;
  ImageWriter writer_{to(), uint64_t{1} << 30};
  WriterSink sink_{writer_};
};

std::string pages(size_t count, char fill) { return std::string(count * 4096, fill); }

TEST_F(ImageDirTest, WhatIsWrittenDuringTheDumpArrivesComplete) {
  must(write_file(from() / "inventory.img", "inventory"));
  must(write_file(from() / "dump.log", "not an image"));
  must(write_file(from() / "pages-1.img", pages(3, 'a')));
  sink_.on_data = [this, first = true]() mutable {  // the dump goes on while the first part is sent
    if (!std::exchange(first, false)) return;
    ScopedFd fd = must(open_file(from() / "pages-1.img", O_WRONLY | O_APPEND));
    must(write_all(fd.get(), pages(600, 'b')));
    must(write_file(from() / "pages-2.img", pages(1, 'c')));
    must(write_file(from() / "empty.img", ""));
    set(dumped_);
  };
  ImageReader reader(from(), sink_);
  must(run(reader));
  EXPECT_EQ(must(read_file(to() / "pages-1.img")), pages(3, 'a') + pages(600, 'b'));
  EXPECT_EQ(must(read_file(to() / "pages-2.img")), pages(1, 'c'));
  EXPECT_EQ(must(read_file(to() / "inventory.img")), "inventory");
  EXPECT_EQ(must(read_file(to() / "empty.img")), "");
  EXPECT_FALSE(std::filesystem::exists(to() / "dump.log"));
  EXPECT_EQ(reader.files(), 4u);
  EXPECT_EQ(reader.bytes(), writer_.bytes());
  EXPECT_EQ(writer_.files_complete(), 4u);
  EXPECT_THAT(sink_.log, Contains("small 2"));
}

TEST_F(ImageDirTest, AConnectionIsSentWhileTheDumpGoesOnAndOnlyOnce) {
  must(write_file(from() / "pages-1.img", pages(1, 'a')));
  sink_.on_data = [this, calls = 0]() mutable {  // the dump is complete only when the connection has been sent
    if (++calls == 1) must(write_file(from() / "tcp-stream-2a.img", "queues"));
    if (calls == 2) set(dumped_);
  };
  ImageReader reader(from(), sink_);
  must(run(reader));
  EXPECT_EQ(must(read_file(to() / "tcp-stream-2a.img")), "queues");
  EXPECT_EQ(std::ranges::count(sink_.log, "begin tcp-stream-2a.img"), 1);
  EXPECT_THAT(sink_.log, Contains("small 1"));
  EXPECT_EQ(reader.bytes(), writer_.bytes());
}

TEST_F(ImageDirTest, OfThePackOfConnectionsTheRoomBehindItsRecordsIsNotSent) {
  const uint64_t used = 13;
  const std::string pack = std::string(godwit_pack::kPackMagic)
                               .append(reinterpret_cast<const char*>(&used), sizeof used)
                               .append("thirteenbytes");
  must(write_file(from() / godwit_pack::kPackName, pack + std::string(1 << 20, '\0')));
  set(dumped_);
  ImageReader reader(from(), sink_);
  must(run(reader));
  EXPECT_EQ(must(read_file(to() / godwit_pack::kPackName)), pack);
  EXPECT_EQ(reader.bytes(), pack.size());
}

TEST_F(ImageDirTest, APackOfConnectionsThatIsCutShortIsAnError) {
  must(write_file(from() / godwit_pack::kPackName, "cut short"));
  set(dumped_);
  ImageReader reader(from(), sink_);
  EXPECT_FALSE(run(reader));
}

TEST_F(ImageDirTest, WhatHasBeenSentTakesNoMemoryAnyMore) {
  must(write_file(from() / "pages-1.img", pages(256, 'a')));
  dumped_ = true;
  ImageReader reader(from(), sink_);
  must(run(reader));
  struct stat facts{};
  ASSERT_EQ(::stat((from() / "pages-1.img").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_size, 256 * 4096);
  EXPECT_LT(facts.st_blocks, 16);
}

TEST_F(ImageDirTest, ASourceThatWaitsForTheDumpCanBeCancelled) {
  ImageReader reader(from(), sink_);
  Result<> ended;
  std::thread thread([&] { ended = run(reader); });
  set(cancelled_);
  thread.join();
  EXPECT_FALSE(ended);
}

TEST_F(ImageDirTest, MoreThanTheLimitIsRefused) {
  ImageWriter writer(to(), 10);
  must(writer.begin(0, "a.img"));
  must(writer.data(0, 0, "12345"));
  must(writer.begin(1, "b.img"));
  must(writer.data(1, 0, "12345"));
  EXPECT_THAT(writer.data(1, 5, "6").error().text(), HasSubstr("larger than"));
}

TEST_F(ImageDirTest, WhatIsOutOfOrderIsRefused) {
  EXPECT_FALSE(writer_.data(0, 0, "x"));
  must(writer_.begin(0, "a.img"));
  EXPECT_FALSE(writer_.begin(0, "b.img"));
  EXPECT_FALSE(writer_.begin(1, "a.img"));
  must(writer_.data(0, 0, "12"));
  EXPECT_FALSE(writer_.data(0, 1, "x"));
  EXPECT_FALSE(writer_.data(0, 3, "x"));
  EXPECT_FALSE(writer_.end(0, 3));
  must(writer_.end(0, 2));
  EXPECT_FALSE(writer_.data(0, 2, "x"));
  EXPECT_FALSE(writer_.end(0, 2));
}

TEST_F(ImageDirTest, NamesThatLeadElsewhereAreRefused) {
  for (const char* name : {"", ".", "..", "../a.img", "/a.img", "a/b.img", ".a.img", "a\n.img"})
    EXPECT_FALSE(writer_.begin(0, name)) << name;
  std::filesystem::create_symlink(directory_ / "elsewhere", to() / "link.img");
  EXPECT_FALSE(writer_.begin(0, "link.img"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "elsewhere"));
}

TEST_F(ImageDirTest, SoManyFilesAndNoMore) {
  for (uint32_t i = 0; i < wire::kImageFilesMax; ++i) {
    must(writer_.begin(i, std::to_string(i) + ".img"));
    must(writer_.end(i, 0));
  }
  EXPECT_FALSE(writer_.begin(wire::kImageFilesMax, "more.img"));
}

TEST_F(ImageDirTest, ReservedMemoryBecomesTheFirstLargeFile) {
  must(writer_.reserve(1 << 20));
  must(writer_.begin(0, "core.img"));
  must(writer_.data(0, 0, "core"));
  must(writer_.end(0, 4));
  must(writer_.begin(1, "pages-1.img"));
  must(writer_.data(1, 0, pages(2, 'p')));
  must(writer_.end(1, uint64_t{2} * 4096));
  EXPECT_EQ(must(read_file(to() / "core.img")), "core");
  EXPECT_EQ(must(read_file(to() / "pages-1.img")), pages(2, 'p'));
}

}  // namespace
}  // namespace godwit
