// Memory maps, and frames as they arrive at the page store and as shared memory.
#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>

#include "base/test_support.h"
#include "base/unix_socket.h"
#include "memory/memory_map.h"
#include "memory/page_store.h"
#include "migration/file_receiving.h"
#include "migration/page_receiving.h"
#include "target.h"
#include "transport/test_bare_connection.h"

using namespace godwit;
using fuzz::require;

GODWIT_FUZZ_TARGET(memory_map) {
  constexpr uint64_t kRegionsMax = 4096;
  std::vector<RegionMap> maps;
  fuzz::Cutter cut(input);
  for (int payloads = 0; payloads < 3 && !cut.empty(); ++payloads)
    if (!decode_memory_map(payloads == 2 ? cut.rest() : cut.piece(), kRegionsMax, maps)) return;
  require(maps.size() <= kRegionsMax, "a map is bounded");
  PageRanges populated, owed;
  for (size_t i = 0; i < maps.size(); ++i) {
    require(i == 0 || maps[i - 1].start < maps[i].start, "a map is in order");
    require((maps[i].owed & ~maps[i].present).none(), "owed pages have content");
    for (uint64_t page = 0; page < kRegionPages; ++page) {
      if (maps[i].present.test(page)) populated.push_back({maps[i].start + page * kPageBytes, 1});
      if (maps[i].owed.test(page)) owed.push_back({maps[i].start + page * kPageBytes, 1});
    }
    if (populated.size() > 20'000) return;
  }
  std::vector<RegionMap> again;
  for (const std::string& payload : encode_memory_map(populated, owed))
    require(decode_memory_map(payload, kRegionsMax, again).has_value(), "a map can be said again");
  std::erase_if(maps, [](const RegionMap& map) { return map.present.none(); });
  require(maps.size() == again.size(), "and is the same");
  for (size_t i = 0; i < maps.size(); ++i)
    require(maps[i].present == again[i].present && maps[i].owed == again[i].owed, "and is the same");
  auto store = must(PageStore::create(uint64_t{64} << 20));
  if (store->apply_map(1, again)) require(store->arena().owed_slots() == owed.size(), "owed pages are counted");
}

namespace {

constexpr uint32_t kStreams = 2;

// The target of a migration whose source says whatever it likes.
class Target {
 public:
  Target() {
    receiving_->use(*pager_);
    for (uint16_t channel = 1; channel <= kStreams + 1; ++channel) {
      auto [ours, theirs] = bare_connection(channel);
      sources_.push_back(std::move(ours));
      receiving_->accept(std::move(theirs));
    }
  }
  ~Target() {
    receiving_->end();
    pager_->stop();
    receiving_.reset();  // its threads use the pager
  }
  void say(uint32_t stream, std::string_view bytes) {
    (void)!::send(sources_[stream].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // Each thread has come to the end of what there is.
  void hang_up() {
    for (const ScopedFd& source : sources_) ::shutdown(source.get(), SHUT_WR);
    (void)receiving_->await_map(in_ms(10'000));
    while (!receiving_->failure()) std::this_thread::yield();
  }
  PageStore& store() { return *store_; }

 private:
  ScopedDirectory directory_;
  std::unique_ptr<PageStore> store_ = must(PageStore::create(uint64_t{8} << 20));
  std::unique_ptr<PageReceiving> receiving_ = std::make_unique<PageReceiving>(*store_, kStreams, 64, nullptr);
  std::unique_ptr<Pager> pager_ = must(
      Pager::start({.store = *store_,
                    .request = [this](SpaceId space, const PageRange& pages) { receiving_->request(space, pages); }},
                   directory_ / "lazy-pages.socket"));
  std::vector<ScopedFd> sources_;
};

}  // namespace

// Pieces are frames of shared memory, with lengths that are made right.
GODWIT_FUZZ_TARGET(shared_memory) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 20;
  auto receiving = must(FileReceiving::create(
      {.directory = "/", .mounts = {}, .shared_memory = true, .bytes_max = kBytesMax, .on_failure = [] {}}));
  auto [ours, theirs] = bare_connection(wire::kFilesChannel);
  receiving->accept(std::move(theirs));
  fuzz::Cutter cut(input);
  while (!cut.empty()) {
    std::string frame(cut.piece());
    if (frame.size() >= wire::kFrameHeaderBytes) {
      const auto length = static_cast<uint32_t>(frame.size() - wire::kFrameHeaderBytes);
      std::memcpy(frame.data() + 16, &length, sizeof length);
    }
    (void)!::send(ours.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  ::shutdown(ours.get(), SHUT_WR);
  const bool complete = receiving->await_content(in_ms(10'000)).has_value();
  require(complete || receiving->failure(), "it comes to an end");
  for (uint64_t inode = 0; inode < 16; ++inode)
    if (auto object = receiving->take_object(inode)) {
      const off_t size = ::lseek(object->get(), 0, SEEK_END);
      require(size >= 0 && static_cast<uint64_t>(size) <= wire::kImageBytesMax, "an object is bounded");
    }
}

// Pieces, each with the stream it goes on. Frames are as they are on the wire, but their lengths are made right, since
// otherwise most inputs would end in a wait.
GODWIT_FUZZ_TARGET(page_receiving) {
  Target target;
  fuzz::Cutter cut(input);
  while (!cut.empty()) {
    const uint32_t stream = cut.byte() % (kStreams + 1);
    std::string frame(cut.piece());
    if (frame.size() >= wire::kFrameHeaderBytes && cut.byte() % 8 != 0) {
      const auto length = static_cast<uint32_t>(frame.size() - wire::kFrameHeaderBytes);
      std::memcpy(frame.data() + 16, &length, sizeof length);
    }
    target.say(stream, frame);
  }
  target.hang_up();
  require(target.store().bytes_peak() <= uint64_t{32} << 20, "the store is bounded");
}
