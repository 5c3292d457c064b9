#include "migration/file_sending.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "kernel/memory_maps.h"
#include "kernel/proc.h"
#include "migration/tmpfs_choice.h"
#include "transport/gathered_frames.h"
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

// Frames of one mount after the other, and of shared memory.
class FileSending::Sink : public SharedSink {
 public:
  Sink(DataConnection& connection, std::shared_ptr<RateLimit> limit, const std::atomic<bool>& cancelled)
      : frames_(connection), limit_(std::move(limit)), cancelled_(cancelled) {}

  void set_index(uint32_t index) { index_ = index; }
  void set_frozen() { frozen_ = true; }
  RateLimit& limit() { return *limit_; }

  Result<> content(uint64_t inode, uint64_t offset, std::string_view pages) override {
    return send({.type = wire::FrameType::kContent, .index = index_, .offset = offset}, numbers(inode), pages);
  }
  Result<> zeros(uint64_t inode, uint64_t offset, uint64_t bytes) override {
    return send({.type = wire::FrameType::kContentZero, .index = index_, .offset = offset},
                numbers(inode) + numbers(bytes), {});
  }
  Result<> object(uint64_t inode, std::string_view name) override {
    return send({.type = wire::FrameType::kObject, .index = index_}, numbers(inode), name);
  }
  Result<> object_gone(uint64_t inode) override {
    return send({.type = wire::FrameType::kObjectGone, .index = index_}, numbers(inode), {});
  }
  Result<> send(wire::FrameHeader header, std::string_view head, std::string_view payload) {
    if (cancelled_) return fail(Error("cancelled", ECANCELED));
    const size_t bytes = wire::kFrameHeaderBytes + head.size() + payload.size();
    if (frozen_) {
      limit_->take_at_once(bytes);
    } else {
      limit_->take(bytes);
    }
    return frames_.send(header, head, payload);
  }
  Result<> flush() { return frames_.flush(); }

 private:
  GatheredFrames frames_;  // small files do not cost a system call each
  const std::shared_ptr<RateLimit> limit_;
  const std::atomic<bool>& cancelled_;
  uint32_t index_ = 0;
  bool frozen_ = false;
};

Result<std::unique_ptr<FileSending>> FileSending::create(Settings settings, std::vector<std::string>& notes) {
  std::unique_ptr<FileSending> sending(new FileSending(std::move(settings)));
  TmpfsChoice choice;
  if (sending->settings_.mounts) {
    TRY_ASSIGN(choice, sending->choose());
  }
  for (const std::string& mountpoint : choice.left)
    notes.push_back("the files in " + mountpoint + " went with CRIU's images, in the downtime: not an ordinary tmpfs");
  if (sending->settings_.shared_memory) {
    TRY_ASSIGN(sending->shared_, SharedContents::create());
  }
  if (choice.taken.empty() && !sending->shared_) return nullptr;
  sending->mounts_ = choice.taken;
  TRY_ASSIGN(auto roots, clone_tmpfs_mounts(sending->settings_.first_process, sending->mounts_));
  for (ScopedFd& root : roots) {
    TRY_ASSIGN(auto contents, FileContents::create(std::move(root)));
    sending->contents_.push_back(std::move(contents));
  }
  return sending;
}

FileSending::FileSending(Settings settings) : settings_(std::move(settings)) {}

FileSending::~FileSending() { cancel(); }

Result<TmpfsChoice> FileSending::choose() const {
  TRY_ASSIGN(const auto processes, proc::processes_in_cgroup(settings_.cgroup));
  TRY_ASSIGN(const auto container, read_mounts(settings_.first_process));
  TRY_ASSIGN(const auto host, read_mounts(::getpid()));
  TmpfsChoice choice = choose_tmpfs(container, host, settings_.binds);
  if (share_mount_namespace(settings_.first_process, processes)) return choice;
  for (const MountEntry& mount : choice.taken) choice.left.push_back(mount.mountpoint);
  choice.taken.clear();
  return choice;
}

void FileSending::declare(criu::Options& options) const {
  for (size_t i = 0; i < mounts_.size(); ++i) declare_dumped_tmpfs(i, mounts_[i].mountpoint, options);
}

void FileSending::declare(peer::Prepare& prepare) const {
  for (const MountEntry& mount : mounts_) {
    peer::TmpfsMount& entry = *prepare.add_tmpfs();
    entry.set_mountpoint(mount.mountpoint);
    entry.set_options(mount.super_options);
    entry.set_source(mount.source);
  }
  prepare.set_shared_memory(shared_ != nullptr);
}

bool FileSending::agree(const peer::PrepareReply& reply) {
  if (!reply.shared_memory()) shared_.reset();
  return shared_ || !mounts_.empty();
}

void FileSending::use(std::unique_ptr<DataConnection> connection, std::shared_ptr<RateLimit> limit) {
  connection_ = std::move(connection);
  sink_ = std::make_unique<Sink>(*connection_, std::move(limit), cancelled_);
}

// --- While the container runs ---------------------------------------------------------------------------------------

Result<> FileSending::send_first() {
  if (settings_.track) begin_tracking();
  return pass();
}

void FileSending::begin_tracking() {
  auto wanted = [this](const Mapping& mapping) {
    return (shared_ && shared_->is_object(mapping)) ||
           std::ranges::any_of(mounts_, [&](const MountEntry& mount) { return mount.device == mapping.device; });
  };
  auto tracker = SharedTracker::start({.wanted = std::move(wanted),
                                       .open_userfaultfd = settings_.open_userfaultfd,
                                       .hold_still = settings_.hold_still,
                                       .let_go = settings_.let_go});
  if (tracker) tracker_ = std::move(*tracker);
  if (!tracker) log::warn("what is mapped is read whole in the freeze: {}", tracker.error().text());
}

std::vector<pid_t> FileSending::processes() const {
  auto processes = proc::processes_in_cgroup(settings_.cgroup);
  return processes ? std::move(*processes) : std::vector<pid_t>();
}

Result<> FileSending::pass() {
  const std::vector<pid_t> running = processes();
  const MappedLook mapped = tracker_ ? tracker_->take(running) : mapped_files(running);
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_index(i);
    TRY_DOING("sending the files in " + mounts_[i].mountpoint, contents_[i]->send_changes(*sink_, mapped));
  }
  if (shared_) {
    look();
    sink_->set_index(wire::kSharedMemoryIndex);
    const uint64_t before = bytes_on_wire();
    TRY_DOING("sending shared memory", shared_->send_changes(*sink_, mapped));
    TRY(sink_->flush());
    shared_bytes_ += bytes_on_wire() - before;
  }
  return sink_->flush();
}

void FileSending::look() {
  if (!shared_) return;
  if (const auto running = processes(); !running.empty()) shared_->find(running);
}

std::vector<std::pair<uint64_t, uint64_t>> FileSending::owned_objects() const {
  return shared_ ? shared_->owned() : std::vector<std::pair<uint64_t, uint64_t>>();
}

// Whatever is mapped shared may have been written.
MappedLook FileSending::mapped_files(const std::vector<pid_t>& processes) const {
  MappedLook look;
  for (const pid_t pid : processes) {
    const auto mappings = read_maps(pid);
    if (!mappings) continue;
    for (const Mapping& mapping : *mappings)
      if (mapping.shared && mapping.inode != 0) look.files[{mapping.device, mapping.inode}].all = true;
  }
  return look;
}

void FileSending::begin_rounds() {
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

Result<> FileSending::end_rounds() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  TRY(finish());
  return tracker_ ? pass() : Result<>();  // what it finds is not left to the freeze
}

// --- The freeze -----------------------------------------------------------------------------------------------------

void FileSending::freeze() {
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

Result<> FileSending::send_last() {
  TRY(check_mounts());
  const MappedLook mapped = tracker_ ? tracker_->find(processes()) : MappedLook{.unknown = true, .files = {}};
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_index(i);
    auto tree = contents_[i]->send_last_changes(*sink_);
    if (!tree) return fail(std::move(tree.error()).during("reading the files in " + mounts_[i].mountpoint));
    TRY(send_tree(i, tree->SerializeAsString()));
  }
  if (shared_) {
    sink_->set_index(wire::kSharedMemoryIndex);
    TRY_ASSIGN(const peer::SharedMemory memory, shared_->send_last_changes(*sink_, mapped));
    TRY(send_tree(wire::kSharedMemoryIndex, memory.SerializeAsString()));
  }
  TRY(sink_->flush());
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    sink_->set_index(i);
    TRY_DOING("reading the files in " + mounts_[i].mountpoint, contents_[i]->send_open_files(*sink_, mapped));
  }
  if (shared_) {
    sink_->set_index(wire::kSharedMemoryIndex);
    TRY_DOING("reading shared memory", shared_->send_open_objects(*sink_, mapped));
  }
  TRY(sink_->send({.type = wire::FrameType::kContentEnd, .index = static_cast<uint32_t>(contents_.size())}, {}, {}));
  return sink_->flush();
}

// CRIU has been told before what is external, and goes by it.
Result<> FileSending::check_mounts() const {
  if (!settings_.mounts) return {};
  TRY_ASSIGN(const TmpfsChoice choice, choose());
  if (choice.taken != mounts_) return fail("the container's tmpfs mounts have changed while it was being moved");
  return {};
}

Result<> FileSending::send_tree(uint32_t index, const std::string& tree) {
  if (tree.size() > wire::kFileTreeBytesMax) return fail("more files than godwit carries");
  for (size_t at = 0; at < tree.size(); at += wire::kFramePayloadMax)
    TRY(sink_->send({.type = wire::FrameType::kFileTree, .index = index}, {},
                    std::string_view(tree).substr(at, wire::kFramePayloadMax)));
  return sink_->send({.type = wire::FrameType::kFileTreeEnd, .index = index, .offset = tree.size()}, {}, {});
}

Result<> FileSending::finish() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

void FileSending::cancel() {
  cancelled_ = true;
  if (sink_) sink_->limit().cancel();
  if (connection_) connection_->cancel();
  std::lock_guard lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

void FileSending::end_tracking() {
  if (thread_.joinable()) thread_.join();
  tracker_.reset();
}

uint64_t FileSending::bytes_on_wire() const { return connection_ ? connection_->bytes_sent() : 0; }

void FileSending::describe(control::Report& report) const {
  auto& figures = *report.mutable_figures();
  const uint64_t bytes = bytes_on_wire();
  figures["tmpfs_bytes"] = static_cast<double>(bytes);
  figures["tmpfs_frozen_bytes"] = static_cast<double>(frozen_ms_ > 0 ? bytes - bytes_before_freeze_ : 0);
  figures["tmpfs_frozen_ms"] = frozen_ms_;
  figures["shared_bytes"] = static_cast<double>(shared_bytes_);
}

}  // namespace godwit
