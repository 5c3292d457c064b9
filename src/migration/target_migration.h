// The target's side of a migration: answers the source's messages, in the order of wire/protocol.h, and undoes
// everything if the source aborts, breaks the protocol or is lost before the commit. After the commit it goes on alone.
//
// Everything in a message comes from a peer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <expected>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/undo.h"
#include "control.pb.h"
#include "kernel/tmpfs.h"
#include "migration/control_channel.h"
#include "migration/file_receiving.h"
#include "migration/host.h"
#include "migration/image_channel.h"
#include "migration/journal.h"
#include "migration/target_pager.h"
#include "migration/target_sockets.h"
#include "network/announce.h"
#include "network/frame_delivery.h"
#include "network/recreate.h"
#include "peer.pb.h"
#include "runtime/criu_bridge.h"
#include "runtime/object_door.h"
#include "runtime/oci_spec.h"
#include "runtime/privileged_service.h"
#include "runtime/streams.h"
#include "wire/preamble.h"

namespace godwit {

class TargetMigration {
 public:
  // HOST outlives the migration. PEER_NAMES: the source's, from its certificate. DATA_ADDRESS: where this agent
  // listens for data connections.
  TargetMigration(const Host& host, std::vector<std::string> peer_names, std::string data_address);
  ~TargetMigration();  // undoes everything unless committed
  TargetMigration(const TargetMigration&) = delete;
  TargetMigration& operator=(const TargetMigration&) = delete;

  // The answer to one message. After a Failure or AbortReply nothing is left and the connection is to be closed.
  peer::TargetMessage handle(const peer::SourceMessage& request);
  // The control connection is lost or closed.
  void link_lost();
  // Waits until what was to arrive has failed and the source has said nothing about it for as long as a peer may be
  // silent: its link is lost (true). False: at STOP, or when the container runs here.
  bool await_silent_source(const std::stop_token& stop) const;

  // A data connection of this migration's that has begun with PREAMBLE. True: SOCKET has gone to its pager, which does
  // the handshake.
  bool pass_on(const wire::Preamble& preamble, ScopedFd& socket);
  // Others. False: the token is wrong, or none is expected.
  bool accept_data(std::unique_ptr<DataConnection> connection);
  bool accepts(const wire::Hello& hello, const std::vector<std::string>& peer_names) const;

  // The agent is about to end. Once the container runs here its memory is no reason to wait: the next agent goes on.
  void leave() { leaving_ = true; }

  std::string id() const;
  peer::OutcomeReply outcome() const;
  bool over() const;
  control::Migration status() const;

 private:
  enum class State { kNew, kGreeted, kChecked, kPrepared, kRestored, kRunning, kLeft, kFinished, kAborted };
  struct PhaseError {
    std::string step;
    Error error;
    std::vector<std::string> log = {};
  };
  template <typename T = void>
  using Phase = std::expected<T, PhaseError>;

  peer::TargetMessage answer_to(const peer::SourceMessage& request);
  peer::TargetMessage end_for_source(const peer::Abort& request);
  peer::Failure tell(const PhaseError& failed) const;
  Phase<peer::TargetMessage> dispatch(const peer::SourceMessage& request);
  Phase<peer::TargetMessage> greet(const peer::Hello& hello);
  Phase<peer::TargetMessage> check(const peer::Preflight& preflight);
  Phase<peer::TargetMessage> prepare(const peer::Prepare& prepare);
  Phase<peer::TargetMessage> restore(const peer::SwitchOver& switch_over);
  Phase<peer::TargetMessage> try_restore(const peer::SwitchOver& switch_over);
  std::optional<PhaseError> first_failure();
  Phase<peer::TargetMessage> commit(const peer::Commit& commit);
  Phase<peer::TargetMessage> pages_left(const peer::PagesLeft& pages_left);
  Phase<peer::TargetMessage> finish(const peer::Finish& finish);

  Result<> prepare_directories();
  Result<> prepare_network(const peer::NetworkState& network);
  Result<> begin_journal();
  void end_journal();
  Result<> prepare_bundle();
  Result<> prepare_streams(const peer::Prepare& prepare);
  Result<> prepare_memory(uint32_t streams);
  Result<> prepare_files(const peer::Prepare& prepare);
  Result<> start_restore(bool simple_cgroups);
  void end_restore();  // undo of start_restore
  Result<> update_network(const peer::NetworkState& now);
  Result<> find_tasks();
  void bind_threads(const peer::Commit& commit);
  HookFacts attached_facts() const;
  Result<> attach_network();
  Result<> deliver_frames(const google::protobuf::RepeatedPtrField<std::string>& frames);
  void go_on_announcing();
  Result<> await_restored();
  Result<> check_objects() const;
  Result<> end_repair();
  Result<> restore_sockets();
  Result<> take_huge_pages(const peer::SwitchOver& switch_over);
  void restore_huge_pages();
  bool bundle_is_ours() const;
  bool await_receiving(Deadline deadline);
  void stop_receiving();  // from the bridge's thread

  void set_handling(bool handling);
  void set_state(State state);
  void abort(const std::string& reason);
  void leave_here();
  void stop_what_arrives();
  void remember_error(const std::string& text);
  std::filesystem::path directory() const;
  std::filesystem::path restore_library() const;  // to preload into CRIU
  PhaseError criu_error(const std::string& step, Error error) const;

  const Host& host_;
  const std::vector<std::string> peer_names_;
  const std::string data_address_;

  peer::Hello hello_;
  peer::Preflight preflight_;
  OciSpec spec_;
  std::filesystem::path bundle_;

  // What has been taken, in this order.
  std::optional<ScopedTmpfs> work_;
  std::optional<network::RecreatedNamespace> network_;
  std::vector<network::CniAllocation> cni_;  // given back unless committed
  peer::NetworkState network_state_;
  // Opened early: closing a packet socket waits for a grace period of the kernel, so they are kept past the resume.
  std::optional<network::Announcer> announcer_;
  std::optional<network::FrameSender> frame_sender_;
  std::future<std::string> hook_;  // the note
  std::optional<StreamReplacements> streams_;
  std::unique_ptr<PrivilegedService> privileged_;  // for a user namespace, until its processes are restored
  std::unique_ptr<CriuBridge> bridge_;
  std::optional<Subprocess> restore_;
  std::unique_ptr<ImageReceiving> receiving_;  // set under the mutex
  std::shared_ptr<TargetPager> memory_;        // none if memory comes with CRIU's images; set before kPrepared
  std::unique_ptr<FileReceiving> files_;       // the same, for tmpfs mounts and shared memory
  std::unique_ptr<ObjectDoor> object_door_;    // if shared memory may come
  TargetSockets sockets_;
  std::optional<JournalRecord> journal_;
  UndoList undo_;
  std::filesystem::path cgroup_;        // the container's, in the freezer hierarchy
  std::vector<std::string> notes_;      // of the commit
  std::map<SpaceId, PageRanges> huge_;  // to be put together when all is there
  uint64_t disk_bytes_before_ = 0;
  uint64_t memory_peak_bytes_ = 0;
  Stopwatch total_;
  pid_t first_process_ = 0;  // the container's, once it is restored
  uint32_t frames_delivered_ = 0;
  bool preloads_ = false;  // restore_library() into CRIU
  std::atomic<bool> leaving_ = false;

  mutable std::mutex mutex_;  // guards what follows; data connections arrive on other threads
  std::condition_variable receiving_arrived_;
  State state_ = State::kNew;
  bool handling_ = false;  // a message
  bool data_connected_ = false;
  bool what_arrives_failed_ = false;
  std::string token_;
  std::optional<ImageWriter> writer_;  // until a data connection comes
  std::string error_;
};

}  // namespace godwit
