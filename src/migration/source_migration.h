// The source's side of a migration, from request to report. The order of its steps is here and nowhere else;
// docs/life-of-a-migration.md follows it through the files.
//
//   connect → check → prepare → rounds → freeze → dump ∥ transfer → restore (there) → COMMIT → pages left → clean up
//
// Until the commit everything taken is on an undo list, and any failure, a cancel or a lost link leaves the container
// running here. The commit is one message; once it may have been received, only the target's answer, or what it says
// later to a question, decides. As long as that is not known the copy here stays frozen.
#pragma once

#include <atomic>
#include <expected>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/undo.h"
#include "control.pb.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/cpu_affinity.h"
#include "kernel/tmpfs.h"
#include "migration/control_channel.h"
#include "migration/file_sending.h"
#include "migration/host.h"
#include "migration/image_channel.h"
#include "migration/journal.h"
#include "migration/progress.h"
#include "migration/source_facts.h"
#include "migration/source_memory.h"
#include "migration/source_sockets.h"
#include "network/detachment.h"
#include "network/frame_hold.h"
#include "network/loopback_mute.h"
#include "runtime/criu_bridge.h"
#include "runtime/socket_dump_watch.h"
#include "tracee/attacher.h"
#include "transport/tls_context.h"

namespace godwit {

template <typename T = void>
using Step = std::expected<T, StepFailure>;

class SourceMigration {
 public:
  struct Request {
    std::string id;
    std::string container;
    std::string target;  // node name
    control::MigrateRequest options{};
  };

  // All references outlive the migration.
  SourceMigration(Request request, const Host& host, PeerConnector& peers, const TlsContext& tls,
                  ProgressListener& listener);
  ~SourceMigration();
  SourceMigration(const SourceMigration&) = delete;
  SourceMigration& operator=(const SourceMigration&) = delete;

  // Blocks until the migration is over. Call once.
  control::Report run();
  // From any thread. False: too late, the commit has been sent.
  bool cancel();
  // From any thread: an operator decides what the agents cannot. An error: there is nothing to decide.
  Result<std::string> resolve(control::Side side);
  control::Migration status() const;

 private:
  // The steps, in order.
  Step<> migrate();
  Step<> connect();
  Step<> check();
  Step<> prepare();
  Step<> start_attacher();
  Step<> prepare_memory();
  Step<> prepare_files();
  Step<> prepare_here();
  Turns::Turn take_turn(Turns& turns, const std::string& what);
  Step<> rounds(std::optional<Turns::Turn>& turn);
  Turns::Turn prepare_to_freeze();
  Step<> freeze();
  Result<> leave_bridge();
  Result<> look_for_socket_locks();
  Result<> watch_socket_dump();
  Step<> dump_and_transfer();
  Step<> restore_there();
  void note_shared_memory(const ImageSending::Memory& memory);
  Step<> commit();
  void await_last_page();
  Result<peer::PagesLeftReply> pages_left();
  bool resume_pages();
  void note_last_page(const peer::PagesLeftReply& left);
  void finish();
  void give_up_memory();
  void resume_here();  // undo of freeze
  void announce_here();
  void end_repair_here();
  void tell_bytes();

  control::Tracking tracking_asked() const;
  void agree_on_files(const peer::PrepareReply& reply);
  Step<> start_checkpoint();
  Step<> check_criu();
  void lose_criu();
  Step<> open_connections();
  Step<> open_page_connections(std::shared_ptr<RateLimit> limit);
  Step<> open_file_connection(std::shared_ptr<RateLimit> limit);
  Result<std::unique_ptr<DataConnection>> open_connection(uint16_t channel);
  bool ask_for_outcome();  // true: the container runs on the target
  Result<> begin_journal();
  Step<> let_run_here();
  std::optional<control::Side> decision() const;
  void remove_network();
  HookFacts hook_facts_of(HookPhase phase) const;
  std::filesystem::path work_directory() const { return host_.run_directory / ("out-" + request_.id); }

  Step<peer::TargetMessage> ask(const std::string& step, const peer::SourceMessage& request,
                                std::chrono::milliseconds limit);
  std::optional<StepFailure> end_there();
  StepFailure failed_there(const peer::Failure& failure) const;
  std::unexpected<StepFailure> failed_here(const std::string& step, Error error) const;
  std::unexpected<StepFailure> criu_failed(const std::string& step, Error error) const;
  void begin_phase(const std::string& name, const std::string& text);
  void split_phase(const std::string& name, double ms);
  Deadline in(std::chrono::milliseconds limit) const { return Clock::now() + limit; }
  bool cancelled() const { return cancelled_; }
  control::Report report(const Step<>& result);
  std::string status_here() const;

  const Request request_;
  const Host& host_;
  PeerConnector& peers_;
  const TlsContext& tls_;
  ProgressListener& listener_;

  SourceFacts facts_;
  peer::HelloReply greeting_;
  std::string no_userfaultfd_;  // why the target cannot fill in memory later; empty: it can

  // What has been taken, in this order; given back by undo_ or by destruction.
  std::unique_ptr<ControlChannel> control_;
  std::optional<ScopedTmpfs> work_;
  std::optional<CgroupFreezer> freezer_;
  std::unique_ptr<Attacher> attacher_;  // to the freeze; none if there are no rounds
  std::optional<network::PortDetachment> detachment_;
  std::optional<network::FrameHold> hold_;
  std::vector<BoundThread> bound_threads_;  // at the freeze
  SourceSockets sockets_;
  std::optional<network::LoopbackMute> loopback_mute_;
  std::unique_ptr<CriuBridge> bridge_;  // set under the mutex: cancel() may come at any time
  std::optional<Subprocess> checkpoint_;
  std::unique_ptr<ImageSending> sending_;  // the same
  std::unique_ptr<SourceMemory> memory_;   // the same; none if memory goes with CRIU's images
  std::unique_ptr<FileSending> files_;     // the same; none if all tmpfs mounts and shared memory go with them
  std::optional<JournalRecord> journal_;
  UndoList undo_;

  Clock::time_point frozen_at_;
  std::atomic<bool> switching_over_ = false;  // frozen, or about to be
  std::future<void> silence_;                 // of what the container sends, once it is frozen
  std::unique_ptr<SocketDumpWatch> socket_dump_;
  std::once_flag left_bridge_once_;
  Result<> left_bridge_;
  Stopwatch total_;
  Stopwatch phase_watch_;
  uint64_t disk_bytes_before_ = 0;
  uint64_t memory_peak_bytes_ = 0;
  bool container_seen_ = false;  // it was found running here
  control::Report report_;

  mutable std::mutex mutex_;  // guards what follows
  std::atomic<bool> cancelled_ = false;
  bool committing_ = false;
  std::optional<control::Side> decision_;
  bool over_ = false;
  std::string phase_ = "request";
  std::atomic<uint64_t> bytes_sent_ = 0;
  std::atomic<uint64_t> image_bytes_ = 0;
  std::atomic<int64_t> told_bytes_at_ = 0;  // ms of the steady clock
};

}  // namespace godwit
