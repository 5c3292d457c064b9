#include "migration/tmpfs_sending.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "kernel/memory_maps.h"
#include "kernel/proc.h"
#include "migration/tmpfs_choice.h"
#include "wire/frame.h"
#include "wire/little_endian.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// Between passes; a pass over files that did not change reads their names and times only.
constexpr auto kPauseMin = 200ms;
constexpr int kPausePerPass = 4;  // times what the pass took: at most a fifth of a processor

std::string numbers(uint64_t first) {
  std::string text(sizeof first, '\0');
  wire::put_le(text.data(), first);
  return text;
}

}  // namespace

// Frames of one mount after the other.
class TmpfsSending::Sink : public ContentSink {
 public:
  Sink(DataConnection& connection, std::shared_ptr<RateLimit> limit, const std::atomic<bool>& cancelled)
      : connection_(connection), limit_(std::move(limit)), cancelled_(cancelled) {}

  void set_mount(uint32_t mount) { mount_ = mount; }
  void set_frozen() { frozen_ = true; }
  RateLimit& limit() { return *limit_; }

  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) override {
    return send({.type = wire::FrameType::kContent, .index = mount_, .offset = offset}, numbers(inode), pages);
  }
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes) override {
    return send({.type = wire::FrameType::kContentZero, .index = mount_, .offset = offset},
                numbers(inode) + numbers(bytes), {});
  }
  Result<> send(wire::FrameHeader header, std::string_view head, std::string_view payload) {
    if (cancelled_) return fail(Error("cancelled", ECANCELED));
    header.length = static_cast<uint32_t>(head.size() + payload.size());
    const size_t bytes = wire::kFrameHeaderBytes + header.length;
    if (frozen_) {
      limit_->take_at_once(bytes);
    } else {
      limit_->take(bytes);
    }
    char encoded[wire::kFrameHeaderBytes];
    wire::encode_frame_header(header, encoded);
    gathered_.append(encoded, sizeof encoded).append(head);
    if (payload.size() < kGather) {
      gathered_.append(payload);
      return gathered_.size() < kGather ? Result<>() : flush();
    }
    Result<> sent = connection_.send({gathered_, payload});
    gathered_.clear();
    return sent;
  }
  Result<> flush() {
    if (gathered_.empty()) return {};
    Result<> sent = connection_.send({gathered_});
    gathered_.clear();
    return sent;
  }

 private:
  static constexpr size_t kGather = size_t{64} << 10;  // small files do not cost a system call each

  DataConnection& connection_;
  const std::shared_ptr<RateLimit> limit_;
  const std::atomic<bool>& cancelled_;
  std::string gathered_;
  uint32_t mount_ = 0;
  bool frozen_ = false;
};

Result<std::unique_ptr<TmpfsSending>> TmpfsSending::create(Settings settings, std::vector<std::string>& notes) {
  std::unique_ptr<TmpfsSending> sending(new TmpfsSending(std::move(settings)));
  TRY_ASSIGN(const TmpfsChoice choice, sending->choose());
  for (const std::string& mountpoint : choice.left)
    notes.push_back("the files in " + mountpoint + " went with CRIU's images, in the downtime: not an ordinary tmpfs");
  if (choice.taken.empty()) return nullptr;
  sending->mounts_ = choice.taken;
  TRY_ASSIGN(auto roots, clone_tmpfs_mounts(sending->settings_.first_process, sending->mounts_));
  for (ScopedFd& root : roots) {
    TRY_ASSIGN(auto contents, FileContents::create(std::move(root)));
    sending->contents_.push_back(std::move(contents));
  }
  return sending;
}

TmpfsSending::TmpfsSending(Settings settings) : settings_(std::move(settings)) {}

TmpfsSending::~TmpfsSending() { cancel(); }

Result<TmpfsChoice> TmpfsSending::choose() const {
  TRY_ASSIGN(const auto processes, proc::processes_in_cgroup(settings_.cgroup));
  TRY_ASSIGN(const auto container, read_mounts(settings_.first_process));
  TRY_ASSIGN(const auto host, read_mounts(::getpid()));
  TmpfsChoice choice = choose_tmpfs(container, host, settings_.binds);
  if (share_mount_namespace(settings_.first_process, processes)) return choice;
  for (const MountEntry& mount : choice.taken) choice.left.push_back(mount.mountpoint);
  choice.taken.clear();
  return choice;
}

void TmpfsSending::declare(criu::Options& options) const {
  for (size_t i = 0; i < mounts_.size(); ++i) declare_dumped_tmpfs(i, mounts_[i].mountpoint, options);
}

void TmpfsSending::declare(peer::Prepare& prepare) const {
  for (const MountEntry& mount : mounts_) {
    peer::TmpfsMount& entry = *prepare.add_tmpfs();
    entry.set_mountpoint(mount.mountpoint);
    entry.set_options(mount.super_options);
    entry.set_source(mount.source);
  }
}

void TmpfsSending::use(std::unique_ptr<DataConnection> connection, std::shared_ptr<RateLimit> limit) {
  connection_ = std::move(connection);
  sink_ = std::make_unique<Sink>(*connection_, std::move(limit), cancelled_);
}

// --- While the container runs ---------------------------------------------------------------------------------------

Result<> TmpfsSending::send_first() { return pass(); }

Result<> TmpfsSending::pass() {
  const std::set<uint64_t> mapped = mapped_files();
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_mount(i);
    TRY_DOING("sending the files in " + mounts_[i].mountpoint, contents_[i]->send_changes(*sink_, mapped));
  }
  return sink_->flush();
}

// Inode numbers of whatever is mapped shared: some may be of other file systems, whose namesakes are then read in vain.
std::set<uint64_t> TmpfsSending::mapped_files() const {
  std::set<uint64_t> inodes;
  const auto processes = proc::processes_in_cgroup(settings_.cgroup);
  if (!processes) return inodes;
  for (const pid_t pid : *processes) {
    const auto mappings = read_maps(pid);
    if (!mappings) continue;
    for (const Mapping& mapping : *mappings)
      if (mapping.shared && mapping.inode != 0) inodes.insert(mapping.inode);
  }
  return inodes;
}

void TmpfsSending::begin_rounds() {
  thread_ = std::jthread([this] {
    for (;;) {
      const Stopwatch watch;
      if (result_ = pass(); !result_) return;
      const auto pause = std::max<Clock::duration>(
          kPauseMin, std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double, std::milli>(kPausePerPass * watch.ms())));
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, pause, [this] { return stop_; })) return;
    }
  });
}

Result<> TmpfsSending::end_rounds() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  return finish();
}

// --- The freeze -----------------------------------------------------------------------------------------------------

void TmpfsSending::freeze() {
  bytes_before_freeze_ = bytes_on_wire();
  sink_->set_frozen();
  thread_ = std::jthread([this] {
    const Stopwatch watch;
    result_ = send_last();
    frozen_ms_ = watch.ms();
    failed_ = !result_;
    if (failed_) connection_->cancel();  // the target does not wait for more
  });
}

Result<> TmpfsSending::send_last() {
  TRY(check_mounts());
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_mount(i);
    auto tree = contents_[i]->send_last_changes(*sink_);
    if (!tree) return fail(std::move(tree.error()).during("reading the files in " + mounts_[i].mountpoint));
    TRY(send_tree(i, *tree));
  }
  TRY(sink_->flush());
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_mount(i);
    TRY_DOING("reading the files in " + mounts_[i].mountpoint, contents_[i]->send_open_files(*sink_));
  }
  TRY(sink_->send({.type = wire::FrameType::kContentEnd, .index = static_cast<uint32_t>(contents_.size())}, {}, {}));
  return sink_->flush();
}

// CRIU has been told before what is external, and goes by it.
Result<> TmpfsSending::check_mounts() const {
  TRY_ASSIGN(const TmpfsChoice choice, choose());
  if (choice.taken != mounts_) return fail("the container's tmpfs mounts have changed while it was being moved");
  return {};
}

Result<> TmpfsSending::send_tree(uint32_t mount, const peer::FileTree& tree) {
  const std::string text = tree.SerializeAsString();
  if (text.size() > wire::kFileTreeBytesMax) return fail("more files than godwit carries");
  for (size_t at = 0; at < text.size(); at += wire::kFramePayloadMax)
    TRY(sink_->send({.type = wire::FrameType::kFileTree, .index = mount}, {},
                    std::string_view(text).substr(at, wire::kFramePayloadMax)));
  return sink_->send({.type = wire::FrameType::kFileTreeEnd, .index = mount, .offset = text.size()}, {}, {});
}

Result<> TmpfsSending::finish() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

void TmpfsSending::cancel() {
  cancelled_ = true;
  if (sink_) sink_->limit().cancel();
  if (connection_) connection_->cancel();
  std::lock_guard lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

uint64_t TmpfsSending::bytes_on_wire() const { return connection_ ? connection_->bytes_sent() : 0; }

void TmpfsSending::describe(control::Report& report) const {
  auto& figures = *report.mutable_figures();
  const uint64_t bytes = bytes_on_wire();
  figures["tmpfs_bytes"] = static_cast<double>(bytes);
  figures["tmpfs_frozen_bytes"] = static_cast<double>(frozen_ms_ > 0 ? bytes - bytes_before_freeze_ : 0);
  figures["tmpfs_frozen_ms"] = frozen_ms_;
}

}  // namespace godwit
