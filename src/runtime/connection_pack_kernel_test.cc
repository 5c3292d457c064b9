// The images of connections on their way: the lens writes them in CRIU's place, mends.so reads them.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/connection_images.h"
#include "runtime/helpers/connection_pack.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

using Openat = int (*)(int, const char*, int, ...);
using Read = ssize_t (*)(int, void*, size_t);
using Write = ssize_t (*)(int, const void*, size_t);
using Close = int (*)(int);

class Library {
 public:
  explicit Library(const char* name) : handle_(::dlopen((helpers_directory() / name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(::dlerror());
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { ::dlclose(handle_); }
  template <typename Call>
  Call call(const char* name) const {
    return reinterpret_cast<Call>(::dlsym(handle_, name));
  }

 private:
  void* handle_;
};

class ConnectionPack : public testing::Test {
 protected:
  ConnectionPack() {
    must(make_directories(images()));
    directory_fd_ = must(open_file(images(), O_RDONLY | O_DIRECTORY));
  }
  std::filesystem::path images() const { return directory_ / "images"; }
  std::filesystem::path pack() const { return images() / godwit_pack::kPackName; }
  static std::string name_of(uint32_t id) {
    char name[64];
    std::snprintf(name, sizeof name, "tcp-stream-%x.img", id);
    return name;
  }
  // As CRIU does, PIECE bytes at a time.
  void write_image(const Library& lens, const std::string& name, std::string_view content, size_t piece = 4096) {
    const int fd = lens.call<Openat>("openat64")(directory_fd_.get(), name.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_GE(fd, 0);
    for (; !content.empty(); content.remove_prefix(std::min(piece, content.size()))) {
      const auto bytes = static_cast<ssize_t>(std::min(piece, content.size()));
      ASSERT_EQ(lens.call<Write>("write")(fd, content.data(), static_cast<size_t>(bytes)), bytes);
    }
    ASSERT_EQ(lens.call<Close>("close")(fd), 0);
  }
  std::optional<std::string> read_image(const Library& sockets, const std::string& name) {
    const int fd = sockets.call<Openat>("openat64")(directory_fd_.get(), name.c_str(), O_RDONLY);
    if (fd < 0) return std::nullopt;
    std::string content;
    char buffer[4096];
    for (ssize_t got; (got = sockets.call<Read>("read")(fd, buffer, 100)) > 0;)
      content.append(buffer, static_cast<size_t>(got));
    EXPECT_EQ(sockets.call<Close>("close")(fd), 0);
    return content;
  }
  void set_lens() { ::setenv("GODWIT_LENS", directory_.path().c_str(), 1); }

  ScopedDirectory directory_;
  ScopedFd directory_fd_;
};

TEST_F(ConnectionPack, EachImageIsReadAsItWasWritten) {
  set_lens();
  std::map<uint32_t, std::string> written;
  std::mt19937 random(7);
  {
    const Library lens("lens.so");
    for (uint32_t i = 0; i < 20'000; ++i) {
      const uint32_t id = i * 7919 % 20'011;
      std::string& content = written[id];
      content.assign(random() % 300, static_cast<char>('a' + id % 26));
      if (i % 500 == 0) content.assign(4000 + random() % 8000, 'L');
      write_image(lens, name_of(id), content);
    }
  }
  EXPECT_GT(std::filesystem::file_size(pack()), uint64_t{2} << 20);  // it has grown more than once
  const Library sockets("mends.so");
  for (const auto& [id, content] : written) ASSERT_EQ(read_image(sockets, name_of(id)), content) << id;
  EXPECT_EQ(read_image(sockets, name_of(999'999)), std::nullopt);
}

TEST_F(ConnectionPack, WhatIsNoImageOfAConnectionIsAFile) {
  set_lens();
  const Library lens("lens.so");
  write_image(lens, "tcp-stream-1.img", "one");
  for (const char* name : {"files.img", "tcp-stream-.img", "tcp-stream-01.img", "tcp-stream-1.imgs",
                           "tcp-stream-1G.img", "tcp-stream-123456789.img"}) {
    write_image(lens, name, name);
    EXPECT_EQ(must(read_file(images() / name)), name);
  }
  write_image(lens, "tcp-stream-2.img", "in many pieces", 1);
  const std::string large(100'000, 'x');
  write_image(lens, "tcp-stream-3.img", large);
  EXPECT_EQ(must(read_file(images() / "tcp-stream-3.img")), large);
  EXPECT_FALSE(std::filesystem::exists(images() / "tcp-stream-2.img"));
  const Library sockets("mends.so");
  EXPECT_EQ(read_image(sockets, "tcp-stream-2.img"), "in many pieces");
  EXPECT_EQ(read_image(sockets, "tcp-stream-3.img"), large);
  EXPECT_EQ(read_image(sockets, "files.img"), "files.img");
}

TEST_F(ConnectionPack, TwoThatAreOpenAtOnceDoNotMix) {
  set_lens();
  const Library lens("lens.so");
  const auto openat = lens.call<Openat>("openat64");
  const auto write = lens.call<Write>("write");
  const int first = openat(directory_fd_.get(), "tcp-stream-a.img", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int second = openat(directory_fd_.get(), "tcp-stream-b.img", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ASSERT_NE(first, second);
  EXPECT_EQ(write(first, "first", 5), 5);
  EXPECT_EQ(write(second, "second", 6), 6);
  EXPECT_EQ(lens.call<Close>("close")(first), 0);
  EXPECT_EQ(lens.call<Close>("close")(second), 0);
  const Library sockets("mends.so");
  EXPECT_EQ(read_image(sockets, "tcp-stream-a.img"), "first");
  EXPECT_EQ(read_image(sockets, "tcp-stream-b.img"), "second");
}

TEST_F(ConnectionPack, WithoutALensThereIsNone) {
  ::unsetenv("GODWIT_LENS");
  const Library lens("lens.so");
  write_image(lens, "tcp-stream-1.img", "one");
  EXPECT_EQ(must(read_file(images() / "tcp-stream-1.img")), "one");
  EXPECT_FALSE(std::filesystem::exists(pack()));
}

TEST_F(ConnectionPack, UnpackedItIsFiles) {
  set_lens();
  const Library lens("lens.so");
  write_image(lens, "tcp-stream-1.img", "one");
  write_image(lens, "tcp-stream-2a.img", "");
  must(unpack_connections(images()));
  EXPECT_EQ(must(read_file(images() / "tcp-stream-1.img")), "one");
  EXPECT_EQ(must(read_file(images() / "tcp-stream-2a.img")), "");
  EXPECT_FALSE(std::filesystem::exists(pack()));
  EXPECT_TRUE(unpack_connections(images()));  // there is none
}

TEST_F(ConnectionPack, AnOddOneIsRefused) {
  auto record = [](uint32_t id, uint32_t length, std::string_view bytes) {
    const uint32_t numbers[2] = {id, length};
    return std::string(reinterpret_cast<const char*>(numbers), sizeof numbers).append(bytes);
  };
  auto packed = [](uint64_t used, std::string_view records) {
    return std::string(godwit_pack::kPackMagic)
        .append(reinterpret_cast<const char*>(&used), sizeof used)
        .append(records);
  };
  const std::string one = record(1, 3, "one");
  for (const std::string& odd :
       {std::string(), std::string("godwit-tcp-0") + std::string(8, '\0'), packed(one.size() + 1, one),
        packed(UINT64_MAX, one), packed(5, one), packed(one.size(), record(1, 4, "one")),
        packed(8, record(1, UINT32_MAX, "")), packed(2 * one.size(), one + one)}) {
    must(write_file(pack(), odd));
    EXPECT_FALSE(unpack_connections(images())) << odd;
    const Library sockets("mends.so");
    EXPECT_EQ(read_image(sockets, "tcp-stream-1.img"), std::nullopt);
  }
}

}  // namespace
}  // namespace godwit
