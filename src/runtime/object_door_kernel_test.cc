// The door and the library that knocks at it, loaded here as CRIU loads it.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kernel/netns.h"
#include "runtime/object_door.h"
#include "runtime/test_criu.h"

namespace godwit {
namespace {

using MemfdCreate = int (*)(const char*, unsigned);
using Openat = int (*)(int, const char*, int, ...);

class ObjectDoorTest : public testing::Test {
 protected:
  ObjectDoorTest() {
    ::ftruncate(object_.get(), kPageBytes);
    ::pwrite(object_.get(), "arrived", 7, 0);
    must(write_file(directory_ / "pagemap-shmem-5.img", ""));
    must(write_file(directory_ / "pagemap-shmem-6.img", ""));
  }
  ~ObjectDoorTest() override {
    if (library_ != nullptr) ::dlclose(library_);
  }
  void load(std::string variable) {
    ::putenv(variable.data());
    library_ = ::dlopen((helpers_directory() / "mends.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) throw std::runtime_error(::dlerror());
    EXPECT_EQ(::getenv("GODWIT_OBJECTS"), nullptr);
    make_ = reinterpret_cast<MemfdCreate>(::dlsym(library_, "memfd_create"));
    open_ = reinterpret_cast<Openat>(::dlsym(library_, "openat64"));
  }
  // As CRIU makes an object of BYTES bytes; false: it could not open the image.
  bool restore(uint64_t inode, off_t bytes, unsigned flags = MFD_ALLOW_SEALING) {
    memfd_.reset(make_("name", flags));
    if (::ftruncate(memfd_.get(), bytes) != 0) throw std::runtime_error("ftruncate");
    const std::string name = "pagemap-shmem-" + std::to_string(inode) + ".img";
    const ScopedFd directory = must(open_file(directory_.path(), O_RDONLY | O_DIRECTORY));
    return static_cast<bool>(ScopedFd(open_(directory.get(), name.c_str(), O_RDONLY)));
  }
  bool is_object() const {
    struct stat ours{}, theirs{};
    ::fstat(object_.get(), &ours);
    ::fstat(memfd_.get(), &theirs);
    return ours.st_ino == theirs.st_ino;
  }
  ObjectDoor::Give give() {
    return [this](uint64_t inode) -> std::optional<ScopedFd> {
      if (inode != 5) return std::nullopt;
      return ScopedFd(::fcntl(object_.get(), F_DUPFD_CLOEXEC, 0));
    };
  }

  ScopedDirectory directory_;
  ScopedFd object_{::memfd_create("object", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ScopedFd memfd_;
  void* library_ = nullptr;
  MemfdCreate make_ = nullptr;
  Openat open_ = nullptr;
};

TEST_F(ObjectDoorTest, AnObjectThatIsThereTakesTheMemfdsPlace) {
  const ScopedFd netns = must(open_current_netns());
  const auto door = ObjectDoor::open(netns.get(), give());
  // The container's namespace is this one here, where the name is taken already.
  ASSERT_FALSE(door);
  const auto path = directory_ / "netns";
  must(create_named_netns(path));
  {
    const ScopedFd other = must(open_netns(path));
    const auto both = must(ObjectDoor::open(other.get(), give()));
    load(both->variable());
    ASSERT_TRUE(restore(5, kPageBytes));
    EXPECT_TRUE(is_object());
    ASSERT_TRUE(restore(6, kPageBytes));
    EXPECT_FALSE(is_object());
    must(in_netns(other.get(), [&]() -> Result<> {
      EXPECT_TRUE(restore(5, kPageBytes));
      return {};
    }));
    EXPECT_TRUE(is_object());
    EXPECT_EQ(::fcntl(memfd_.get(), F_GET_SEALS), 0);
    EXPECT_FALSE(restore(5, 2 * kPageBytes)) << "another size";
    ASSERT_TRUE(restore(5, kPageBytes, 0));
    EXPECT_EQ(::fcntl(memfd_.get(), F_GET_SEALS), F_SEAL_SEAL);
  }
  must(remove_named_netns(path));
}

TEST_F(ObjectDoorTest, WithoutTheAgentTheRestoreFails) {
  const auto path = directory_ / "netns";
  must(create_named_netns(path));
  std::string variable;
  {
    const ScopedFd other = must(open_netns(path));
    variable = must(ObjectDoor::open(other.get(), give()))->variable();
    const auto door = must(ObjectDoor::open(other.get(), give()));
    std::string wrong = door->variable();
    wrong.back() = wrong.back() == '0' ? '1' : '0';
    load(wrong);
    EXPECT_FALSE(restore(5, kPageBytes)) << "another secret";
  }
  EXPECT_FALSE(restore(5, kPageBytes)) << "no door";
  must(remove_named_netns(path));
}

}  // namespace
}  // namespace godwit
