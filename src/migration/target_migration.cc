#include "migration/target_migration.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/identifier.h"
#include "base/log.h"
#include "kernel/cgroup_tree.h"
#include "kernel/cpu_affinity.h"
#include "kernel/free_memory.h"
#include "kernel/netns.h"
#include "kernel/proc.h"
#include "memory/huge_pages.h"
#include "migration/handshake.h"
#include "migration/host_figures.h"
#include "migration/own_bundles.h"
#include "migration/target_facts.h"
#include "migration/target_links.h"
#include "migration/target_record.h"
#include "network/announce.h"
#include "network/frame_delivery.h"
#include "runtime/connection_images.h"
#include "runtime/criu_log.h"
#include "runtime/lens_files.h"
#include "runtime/tcp_repair.h"
#include "transport/data_listener.h"
#include "wire/protocol.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kAnnouncementInterval = 1s;  // Announcer::repeat
// Resuming takes milliseconds; a host under load may take longer, and there is no way back any more.
constexpr auto kResumesWithin = 60s;
// How often the source hears how many pages are left.
constexpr auto kPagesLeftReply = 200ms;

// Of one migration. A source with more than these leaves some to the kernel.
constexpr size_t kHugeRunsMax = 65536;

// CRIU fills SysV shared memory as it makes the IPC namespace, before the point where it waits for memory: what is not
// there yet would be zero. An image without a segment is nothing but 8 bytes of magic numbers.
bool holds_sysv_memory(const std::filesystem::path& images) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(images, error))
    if (entry.path().filename().string().starts_with("ipcns-shm-") && entry.file_size(error) > 8) return true;
  return false;
}

}  // namespace

TargetMigration::TargetMigration(const Host& host, std::vector<std::string> peer_names, std::string data_address)
    : host_(host), peer_names_(std::move(peer_names)), data_address_(std::move(data_address)) {}

TargetMigration::~TargetMigration() { link_lost(); }

peer::TargetMessage TargetMigration::handle(const peer::SourceMessage& request) {
  set_handling(true);
  peer::TargetMessage answer = answer_to(request);
  set_handling(false);
  return answer;
}

peer::TargetMessage TargetMigration::answer_to(const peer::SourceMessage& request) {
  if (request.has_abort()) return end_for_source(request.abort());
  Phase<peer::TargetMessage> answer = dispatch(request);
  if (answer) return std::move(*answer);
  peer::TargetMessage message;
  *message.mutable_failure() = tell(answer.error());
  abort(answer.error().error.text());
  return message;
}

peer::TargetMessage TargetMigration::end_for_source(const peer::Abort& request) {
  peer::TargetMessage message;
  message.mutable_abort();
  const auto first = first_failure();
  const bool seen_there_too = first && first->error.code() == ECONNRESET;
  if (first && !seen_there_too) *message.mutable_abort()->mutable_failure() = tell(*first);
  abort("the source gave up: " + request.reason().substr(0, 200));
  return message;
}

peer::Failure TargetMigration::tell(const PhaseError& failed) const {
  log::warn("migration {}: {}: {}", id(), failed.step, failed.error.text());
  peer::Failure failure;
  failure.set_step(failed.step);
  failure.set_cause(failed.error.text());
  for (const std::string& line : failed.log) failure.add_log(line);
  return failure;
}

TargetMigration::Phase<peer::TargetMessage> TargetMigration::dispatch(const peer::SourceMessage& request) {
  State state;
  {
    std::lock_guard lock(mutex_);
    state = state_;
  }
  if (request.has_hello() && state == State::kNew) return greet(request.hello());
  if (request.has_preflight() && state == State::kGreeted) return check(request.preflight());
  if (request.has_prepare() && state == State::kChecked) return prepare(request.prepare());
  if (request.has_switch_over() && state == State::kPrepared) return restore(request.switch_over());
  if (request.has_commit() && state == State::kRestored) return commit(request.commit());
  if (request.has_pages_left() && state == State::kRunning) return pages_left(request.pages_left());
  if (request.has_finish() && state == State::kRunning) {
    end_journal();  // the source knows that the container runs here
    return finish(request.finish());
  }
  return std::unexpected(PhaseError{"protocol", Error("a message came out of order")});
}

// --- Handshake and pre-flight: nothing is changed ---------------------------------------------------------

TargetMigration::Phase<peer::TargetMessage> TargetMigration::greet(const peer::Hello& hello) {
  if (auto checked = check_hello(hello); !checked) return std::unexpected(PhaseError{"connect", checked.error()});
  if (std::ranges::find(peer_names_, hello.node()) == peer_names_.end())
    return std::unexpected(
        PhaseError{"connect", Error("the source calls itself '" + hello.node() + "', its certificate does not")});
  hello_ = hello;
  std::string token = random_bytes(wire::kTokenBytes);
  peer::TargetMessage message;
  peer::HelloReply& reply = *message.mutable_hello();
  reply.set_version_major(wire::kProtocolMajor);
  reply.set_version_minor(wire::kProtocolMinor);
  reply.set_software(GODWIT_VERSION);
  reply.set_node(host_.node);
  reply.set_data_address(data_address_);
  reply.set_data_token(token);
  reply.set_data_encryption(host_.data_encryption);
  {
    std::lock_guard lock(mutex_);
    token_ = std::move(token);
  }
  set_state(State::kGreeted);
  return message;
}

TargetMigration::Phase<peer::TargetMessage> TargetMigration::check(const peer::Preflight& preflight) {
  peer::TargetMessage message;
  *message.mutable_preflight() = judge(host_, preflight);
  if (message.preflight().problems().empty()) {
    preflight_ = preflight;
    set_state(State::kChecked);
  }
  return message;
}

// --- Prepare: the container still runs on the source ------------------------------------------------------

TargetMigration::Phase<peer::TargetMessage> TargetMigration::prepare(const peer::Prepare& prepare) {
  auto failed = [](Error error) { return std::unexpected(PhaseError{"prepare", std::move(error)}); };
  disk_bytes_before_ = disk_bytes_written();
  auto spec = parse_oci_spec(preflight_.config_json(), preflight_.bundle());
  if (!spec) return failed(spec.error());
  spec_ = std::move(*spec);
  if (!spec_.netns_path) return failed(Error("config.json names no network namespace"));
  bundle_ = bundle_on_target(host_, preflight_);
  if (auto done = prepare_directories(); !done) return failed(done.error());
  if (auto done = prepare_network(prepare.network()); !done) return failed(done.error());
  if (auto done = begin_journal(); !done) return failed(done.error());
  if (auto done = prepare_bundle(); !done) return failed(done.error());
  if (auto done = prepare_streams(prepare); !done) return failed(done.error());
  if (auto done = prepare_memory(prepare.page_streams()); !done) return failed(done.error());
  if (auto done = prepare_files(prepare); !done) return failed(done.error());
  if (auto done = start_restore(prepare.simple_cgroups()); !done) return failed(done.error());
  auto waiting = bridge_->await(CriuPoint::kRequest, Clock::now() + host_.step_timeout);
  if (!waiting) return std::unexpected(criu_error("prepare", waiting.error()));
  if (prepare.memory_in_freeze()) warm_free_memory(preflight_.memory_bytes());

  peer::TargetMessage message;
  for (const std::string& note : streams_->notes()) message.mutable_prepare()->add_notes(note);
  for (const std::string& note : network_->notes()) message.mutable_prepare()->add_notes(note);
  message.mutable_prepare()->set_shared_memory(object_door_ != nullptr);
  set_state(State::kPrepared);
  return message;
}

std::filesystem::path TargetMigration::directory() const {
  return host_.run_directory / ("in-" + hello_.migration_id());
}

std::filesystem::path TargetMigration::restore_library() const { return host_.runc.helpers / "mends.so"; }

Result<> TargetMigration::prepare_directories() {
  const uint64_t bytes = std::min(image_tmpfs_bytes(preflight_.memory_bytes()), host_.image_bytes_max);
  TRY_ASSIGN(ScopedTmpfs tmpfs, ScopedTmpfs::mount(directory(), bytes));
  work_.emplace(std::move(tmpfs));
  TRY(write_target_record(
      directory(),
      {.container = preflight_.container(), .netns = *spec_.netns_path, .bundle = bundle_is_ours() ? bundle_ : ""}));
  TRY(make_directories(directory() / "images"));
  // So that CRIU finds images there as root of a user namespace; what is above is for root only.
  if (::chmod((directory() / "images").c_str(), 0711) != 0) return fail_errno("chmod of the images' directory");
  TRY(make_directories(directory() / "work"));
  writer_.emplace(directory() / "images", host_.image_bytes_max);
  // runC wants to know of pipes among the standard streams; the bridge tells CRIU itself (StreamReplacements).
  return write_file(directory() / "images" / "descriptors.json", R"(["/dev/null","/dev/null","/dev/null"])");
}

Result<> TargetMigration::prepare_network(const peer::NetworkState& state) {
  network_state_ = with_links_here(host_, state);
  TRY_ASSIGN(auto network, network::RecreatedNamespace::create(network_state_, *spec_.netns_path, id()));
  network_.emplace(std::move(network));
  for (const peer::CniAttachment& attachment : preflight_.cni()) {
    TRY_ASSIGN(auto allocation, network::CniAllocation::add(host_.cni, attachment, *spec_.netns_path));
    cni_.push_back(std::move(allocation));
  }
  TRY_ASSIGN(auto announcer, network::Announcer::open(network_->netns_fd(), state));
  announcer_.emplace(std::move(announcer));
  TRY_ASSIGN(auto sender, network::FrameSender::open(network_->host_ends(), id()));
  for (const std::string& note : sender.notes()) notes_.push_back(note);
  frame_sender_.emplace(std::move(sender));
  return {};
}

// From here on a start of the host does not make this side say that the container never ran here.
Result<> TargetMigration::begin_journal() {
  peer::NetworkState announced;
  *announced.mutable_links() = network_state_.links();
  *announced.mutable_addresses() = network_state_.addresses();
  JournalFacts facts{.source = false,
                     .id = id(),
                     .container = preflight_.container(),
                     .peer = hello_.node(),
                     .boot_id = "",
                     .netns = *spec_.netns_path,
                     .bundle = bundle_is_ours() ? bundle_ : "",
                     .freezer = "",
                     .ports = {},
                     .cpu_quota = {},
                     .network = announced.SerializeAsString()};
  auto link = network_state_.links().begin();
  for (const network::HostEnd& end : network_->host_ends()) {
    while (link != network_state_.links().end() && link->loopback()) ++link;
    const std::string bridge = link == network_state_.links().end() ? "" : (link++)->bridge();
    if (!end.macvlan) facts.ports.push_back({.name = end.name, .index = end.index, .bridge = bridge, .settings = ""});
  }
  TRY_ASSIGN(auto record, JournalRecord::begin(host_.journal, std::move(facts)));
  journal_.emplace(std::move(record));
  return {};
}

void TargetMigration::end_journal() {
  if (!journal_) return;
  if (auto removed = journal_->remove(); !removed) log::error("migration {}: {}", id(), removed.error().text());
}

bool TargetMigration::bundle_is_ours() const { return bundle_ == own_bundle_directory(host_, preflight_.container()); }

Result<> TargetMigration::prepare_bundle() {
  if (!bundle_is_ours()) return {};
  remove_abandoned_bundles(host_);
  TRY(make_directories(bundle_));
  undo_.add("remove the bundle", [bundle = bundle_] {
    std::error_code error;
    std::filesystem::remove_all(bundle, error);
  });
  nlohmann::json config = nlohmann::json::parse(preflight_.config_json(), nullptr, false);
  if (config.is_discarded()) return fail("config.json cannot be read");
  config["root"]["path"] = spec_.rootfs.string();  // it may have been relative to the source's bundle
  return write_file(bundle_ / "config.json", config.dump(2));
}

Result<> TargetMigration::prepare_streams(const peer::Prepare& prepare) {
  TRY_ASSIGN(auto streams, StreamReplacements::open({prepare.streams().begin(), prepare.streams().end()},
                                                    {.log_directory = host_.stream_log_directory,
                                                     .keeper = host_.stream_keeper,
                                                     .container = preflight_.container()}));
  streams_.emplace(std::move(streams));
  if (!spec_.terminal) return {};
  return streams_->listen_for_terminal(directory() / "console.sock");
}

// Zero streams: memory comes with CRIU's images.
Result<> TargetMigration::prepare_memory(uint32_t streams) {
  if (streams == 0) return writer_->reserve(preflight_.memory_bytes());
  if (streams + 1 >= wire::kFilesChannel) return fail("the source wants " + std::to_string(streams) + " connections");
  TRY_ASSIGN(memory_,
             TargetPager::create(
                 host_.pager,
                 {.directory = directory(), .id = id(), .source = hello_.node(), .bytes_max = host_.image_bytes_max},
                 {.streams = streams,
                  .socket = directory() / "work" / "lazy-pages.socket",
                  .token = token_,
                  .on_failure = [this] { stop_receiving(); }}));
  return {};
}

Result<> TargetMigration::prepare_files(const peer::Prepare& prepare) {
  preloads_ = check_lens(restore_library(), host_.criu).has_value();
  const bool shared_memory = prepare.shared_memory() && preloads_;
  if (prepare.tmpfs().empty() && !shared_memory) return {};
  TRY_ASSIGN(files_, FileReceiving::create({.directory = directory() / "tmpfs",
                                            .mounts = {prepare.tmpfs().begin(), prepare.tmpfs().end()},
                                            .shared_memory = shared_memory,
                                            .bytes_max = host_.image_bytes_max,
                                            .on_failure = [this] { stop_receiving(); }}));
  if (!shared_memory) return {};
  TRY_ASSIGN(object_door_,
             ObjectDoor::open(network_->netns_fd(), [this](uint64_t inode) { return files_->take_object(inode); }));
  return {};
}

Result<> TargetMigration::start_restore(bool simple_cgroups) {
  const auto socket = directory() / "criu.sock";
  std::vector<CriuPoint> points{CriuPoint::kRequest, CriuPoint::kNamespacesReady, CriuPoint::kPostRestore,
                                CriuPoint::kNetworkUnlock};
  std::vector<std::string> variables;
  if (object_door_) variables.push_back(object_door_->variable());
  if (spec_.own_userns) {
    points.push_back(CriuPoint::kPreResume);
    std::vector<std::string> mounts = files_ ? files_->paths() : std::vector<std::string>();
    for (const BindMount& bind : spec_.bind_mounts) mounts.push_back(bind.source);
    TRY_ASSIGN(privileged_,
               PrivilegedService::start(directory() / "privileged.sock", network_->netns_fd(), std::move(mounts)));
    variables.push_back(privileged_->variable());
  }
  const auto cgroup_yard = directory() / "cgroups";
  TRY(make_directories(cgroup_yard));
  TRY_ASSIGN(bridge_, CriuBridge::start({
                          .socket = socket,
                          .criu = host_.criu,
                          .images_directory = directory() / "images",
                          .work_directory = directory() / "work",
                          .descriptors = streams_->descriptors(),
                          .edit_options =
                              [this, simple_cgroups, cgroup_yard](criu::Options& options) {
                                streams_->declare(options);
                                use_common_criu_options(simple_cgroups, options);
                                // Where CRIU mounts hierarchies. In its working directory, which is a descriptor of the
                                // agent's mount namespace, it cannot.
                                if (!simple_cgroups) options.set_cgroup_yard(cgroup_yard.string());
                                options.set_auto_dedup(true);  // frees an image's pages as they are read
                                options.set_lazy_pages(memory_ != nullptr);
                                if (files_) files_->declare(options);
                              },
                          .hold_at = std::move(points),
                          .on_failure = [this] { stop_receiving(); },
                          .preload = restore_library(),
                          .preload_variables = std::move(variables),
                      }));
  TRY_ASSIGN(ScopedFd log, open_file(directory() / "work" / "runc.log", O_WRONLY | O_CREAT | O_APPEND));
  TRY_ASSIGN(auto restore, Runc(host_.runc)
                               .start_restore({.name = preflight_.container(),
                                               .bundle = bundle_,
                                               .images = directory() / "images",
                                               .work = directory() / "work",
                                               .bridge_socket = socket,
                                               .console_socket = spec_.terminal ? directory() / "console.sock" : "",
                                               .log_fd = log.get(),
                                               .private_tmp = can_do_without_tmp(spec_, bundle_)}));
  restore_.emplace(std::move(restore));
  bridge_->watch_runc(restore_->pidfd());
  // CRIU kills what it has restored when it is refused, runC then removes the container; what it leaves is removed.
  undo_.add("end the restore", [this] { end_restore(); });
  return {};
}

void TargetMigration::end_restore() {
  bridge_->refuse();
  if (memory_ && memory_->failure()) bridge_->await_end(Clock::now() + 1s);  // see await_restored()
  auto ended = restore_->wait_until(Clock::now() + 20s);
  if (!ended || !*ended) restore_->kill();
  bridge_->await_end(Clock::now() + 20s);
  auto check = [this](const Result<>& done) {
    if (!done) log::error("migration {}: {}", id(), done.error().text());
  };
  check(Runc(host_.runc).remove(preflight_.container()));
  for (const auto& directory : bridge_->restore_cgroups()) check(remove_cgroup(directory, Clock::now() + 5s));
}

// --- Switch-over: the container stands still on the source ------------------------------------------------

TargetMigration::Phase<peer::TargetMessage> TargetMigration::restore(const peer::SwitchOver& switch_over) {
  auto restored = try_restore(switch_over);
  if (restored || restored.error().error.code() != ECANCELED) return restored;
  if (auto first = first_failure()) return std::unexpected(std::move(*first));
  return restored;
}

// Whatever fails ends the connections, see stop_receiving(); what others then say is its consequence.
std::optional<TargetMigration::PhaseError> TargetMigration::first_failure() {
  if (!bridge_) return std::nullopt;
  if (auto gone = bridge_->failure()) return criu_error("restore", Error(*gone));
  std::optional<Error> failures[] = {memory_ ? memory_->failure() : std::nullopt,
                                     files_ ? files_->failure() : std::nullopt};
  for (std::optional<Error>& failure : failures)
    if (failure && failure->code() != ECANCELED) return PhaseError{"transfer", std::move(*failure)};
  return std::nullopt;
}

TargetMigration::Phase<peer::TargetMessage> TargetMigration::try_restore(const peer::SwitchOver& switch_over) {
  auto failed = [](const std::string& step, Error error) {
    return std::unexpected(PhaseError{step, std::move(error)});
  };
  const Stopwatch receive_watch;
  if (!await_receiving(Clock::now() + host_.step_timeout)) return failed("transfer", Error("no data connection came"));
  if (auto taken = take_huge_pages(switch_over); !taken) return failed("restore", taken.error());
  receiving_->await_small_files();
  if (auto gone = bridge_->failure()) return std::unexpected(criu_error("restore", Error(*gone)));
  if (receiving_->failed()) return failed("transfer", receiving_->finish().error());
  // Else CRIU reads them from the pack by what is preloaded into it.
  if (!preloads_)
    if (auto unpacked = unpack_connections(directory() / "images"); !unpacked)
      return failed("restore", unpacked.error());
  if (auto set = streams_->set_positions({switch_over.streams().begin(), switch_over.streams().end()}); !set)
    return failed("restore", set.error());
  if (memory_)
    if (auto mapped = memory_->await_map(host_.step_timeout); !mapped) return failed("transfer", mapped.error());
  if (files_)
    if (auto named = files_->await_trees(Clock::now() + host_.step_timeout); !named)
      return failed("transfer", named.error());
  if (holds_sysv_memory(directory() / "images"))
    if (auto all = receiving_->finish(); !all) return failed("transfer", all.error());
  bridge_->release(CriuPoint::kRequest);
  // CRIU makes namespaces and mounts while memory still arrives, and this namespace becomes what it was at the freeze.
  if (auto updated = update_network(switch_over.network()); !updated) return failed("restore", updated.error());
  if (auto made = sockets_.make_remembered(switch_over.remembered(), *network_); !made)
    return failed("restore", made.error());
  auto ready = bridge_->await(CriuPoint::kNamespacesReady, Clock::now() + host_.step_timeout);
  if (!ready && !receiving_->failed()) return std::unexpected(criu_error("restore", ready.error()));
  auto received = receiving_->finish();
  if (auto gone = bridge_->failure()) return std::unexpected(criu_error("restore", Error(*gone)));
  if (!received) return failed("transfer", received.error());
  if (auto loaded = sockets_.load(directory() / "images"); !loaded) return failed("restore", loaded.error());

  peer::TargetMessage message;
  peer::SwitchOverReply& reply = *message.mutable_switch_over();
  reply.set_receive_ms(receive_watch.ms());
  const Stopwatch restore_watch;
  memory_peak_bytes_ = work_->used_bytes();
  bridge_->release(CriuPoint::kNamespacesReady);
  auto restored = await_restored();
  if (!restored && memory_ && memory_->failure()) return failed("transfer", *memory_->failure());
  if (!restored) return std::unexpected(criu_error("restore", restored.error()));
  privileged_.reset();  // nothing of the container has run yet
  if (auto whole = restore_sockets(); !whole) return failed("restore", whole.error());
  if (files_) {
    if (auto here = files_->await_content(Clock::now() + host_.step_timeout); !here)
      return failed("transfer", here.error());
    object_door_.reset();
    if (auto given = check_objects(); !given) return std::unexpected(criu_error("restore", given.error()));
    files_->detach();
  }
  if (memory_)
    if (auto here = memory_->await_pages(switch_over.await_pages(), host_.step_timeout); !here)
      return failed("transfer", here.error());
  reply.set_restore_ms(restore_watch.ms());
  reply.set_memory_peak_bytes(memory_peak_bytes_);
  set_state(State::kRestored);
  return message;
}

// Of what CRIU has restored without content, all must be what has come here.
Result<> TargetMigration::check_objects() const {
  for (const uint64_t inode : files_->untaken_objects())
    if (std::filesystem::exists(directory() / "images" / fmt::format("pagemap-shmem-{}.img", inode)))
      return fail("CRIU has not taken the shared memory that was sent");
  return {};
}

Result<> TargetMigration::restore_sockets() {
  if (!sockets_.has_states()) return {};
  TRY(find_tasks());
  TRY_ASSIGN(const auto processes, proc::processes_in_cgroup(cgroup_));
  return sockets_.restore(processes, *network_, network_state_, *frame_sender_);
}

// CRIU may itself wait for a page, which does not come any more when the memory has failed.
Result<> TargetMigration::await_restored() {
  const Deadline deadline = Clock::now() + host_.step_timeout;
  for (;;) {
    auto restored = bridge_->await(CriuPoint::kPostRestore, std::min(deadline, Clock::now() + 100ms));
    if (restored) return {};
    if (bridge_->failure() || (memory_ && memory_->failure()) || Clock::now() >= deadline)
      return std::unexpected(std::move(restored.error()));
  }
}

Result<> TargetMigration::take_huge_pages(const peer::SwitchOver& switch_over) {
  size_t runs = 0;
  uint64_t pages = 0;
  for (const peer::HugeMemory& huge : switch_over.huge()) {
    runs += static_cast<size_t>(huge.starts_size());
    if (huge.starts_size() != huge.pages_size() || runs > kHugeRunsMax) return fail("an odd list of huge pages");
    for (int i = 0; i < huge.starts_size(); ++i) {
      const PageRange run{{huge.starts(i)}, huge.pages(i)};
      const uint64_t pages_left = host_.image_bytes_max / kPageBytes - pages;
      if (!run.start.page_aligned() || run.pages > pages_left || run.end() < run.start)
        return fail("an odd run of huge pages");
      pages += run.pages;
      huge_[huge.space()].push_back(run);
    }
  }
  return {};
}

// Addresses seldom change between the preparation and the freeze; if they did, others are announced.
Result<> TargetMigration::update_network(const peer::NetworkState& now) {
  TRY(network_->apply_volatile(now));
  auto texts = [](const peer::NetworkState& state) {
    std::vector<std::string> list;
    for (const peer::Address& address : state.addresses()) list.push_back(address.SerializeAsString());
    return list;
  };
  if (texts(now) == texts(network_state_)) return {};
  *network_state_.mutable_addresses() = now.addresses();
  TRY_ASSIGN(auto announcer, network::Announcer::open(network_->netns_fd(), network_state_));
  announcer_.emplace(std::move(announcer));
  return {};
}

bool TargetMigration::await_receiving(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return receiving_arrived_.wait_until(lock, deadline, [&] { return receiving_ != nullptr; });
}

void TargetMigration::stop_receiving() {
  std::shared_ptr<TargetPager> memory;
  {
    std::lock_guard lock(mutex_);
    what_arrives_failed_ = true;
    if (receiving_) receiving_->cancel();
    if (files_) files_->cancel();
    memory = memory_;
  }
  if (memory) memory->cancel();
}

// The sockets live from pre-resume on; only then frames may reach them, and from then on the container is here.
TargetMigration::Phase<peer::TargetMessage> TargetMigration::commit(const peer::Commit& commit) {
  const Stopwatch watch;
  // In this order: docs/design/commit.md.
  if (auto noted = journal_->note(CommitState::kCommitting); !noted)
    return std::unexpected(PhaseError{"resume", std::move(noted.error())});
  if (auto kept = remove_target_record(directory()); !kept)
    return std::unexpected(PhaseError{"resume", std::move(kept.error())});
  const auto found = find_tasks();
  if (memory_ && !found) return std::unexpected(PhaseError{"resume", found.error()});
  if (memory_)
    if (auto guarded = memory_->guard({first_process_, cgroup_}); !guarded)
      return std::unexpected(PhaseError{"resume", std::move(guarded.error())});
  bridge_->release(CriuPoint::kPostRestore);
  if (found) bind_threads(commit);
  auto quiet = bridge_->await(CriuPoint::kNetworkUnlock, Clock::now() + kResumesWithin);
  if (!quiet) return std::unexpected(criu_error("resume", quiet.error()));
  // Restored sockets send at once, and know no round-trip time: what is lost then is sent again only a second later.
  const Stopwatch attach_watch;
  auto attached = attach_network();
  sockets_.announce_groups();
  for (std::string& note : sockets_.take_notes()) notes_.push_back(std::move(note));
  hook_ = start_hook(host_.hooks, attached_facts());
  bridge_->release(CriuPoint::kNetworkUnlock);
  auto alive = bridge_->await(CriuPoint::kPreResume, Clock::now() + kResumesWithin);
  if (!alive) return std::unexpected(criu_error("resume", alive.error()));
  if (spec_.own_userns) {
    if (auto ended = end_repair(); !ended) remember_error(ended.error().text());
    bridge_->release(CriuPoint::kPreResume);
  }
  if (auto noted = journal_->note(CommitState::kCommitted); !noted) remember_error(noted.error().text());
  undo_.commit();  // the container runs here
  network_->commit();
  set_state(State::kRunning);

  peer::TargetMessage message;
  peer::CommitReply& reply = *message.mutable_commit();
  if (attached) attached = deliver_frames(commit.frames());
  if (!attached) {
    log::error("migration {}: {}", id(), attached.error().text());
    remember_error(attached.error().text());
  }
  reply.set_attach_ms(attach_watch.ms());
  auto resumed = bridge_->await(CriuPoint::kPostResume, Clock::now() + kResumesWithin);
  if (!resumed) remember_error(resumed.error().text());
  if (memory_) memory_->begin_fill();
  go_on_announcing();
  reply.set_resume_ms(watch.ms());
  reply.set_frames_delivered(frames_delivered_);
  return message;
}

// The restored processes take their sockets out of repair mode themselves, unless a user namespace forbids it.
Result<> TargetMigration::end_repair() {
  TRY_ASSIGN(const auto pids, proc::processes_in_cgroup(cgroup_));
  return end_tcp_repair(pids);
}

Result<> TargetMigration::find_tasks() {
  TRY_ASSIGN(first_process_, bridge_->await(CriuPoint::kPostRestore, Clock::now()));
  TRY_ASSIGN(const auto cgroups, cgroup_directories(first_process_));
  for (const auto& directory : cgroups)
    if (std::filesystem::exists(directory / "freezer.state") || std::filesystem::exists(directory / "cgroup.freeze")) {
      cgroup_ = directory;
      return {};
    }
  return fail("the container is in no cgroup that can be frozen");
}

// Beside CRIU's last steps. A container whose threads are not where they were runs all the same.
void TargetMigration::bind_threads(const peer::Commit& commit) {
  constexpr int kThreadsMax = 65536, kLevelsMax = 32;
  constexpr size_t kMaskBytesMax = 1024;
  std::vector<BoundThread> bound;
  for (const peer::BoundThread& thread : commit.bound())
    if (commit.bound_size() <= kThreadsMax && thread.thread_size() <= kLevelsMax &&
        thread.cpus().size() <= kMaskBytesMax)
      bound.push_back({{thread.thread().begin(), thread.thread().end()}, thread.cpus()});
  const auto refused = godwit::bind_threads(cgroup_, first_process_, bound);
  if (!refused) return notes_.push_back("binding threads to their processors: " + refused.error().text());
  if (*refused > 0)
    notes_.push_back(fmt::format("{} threads were bound to processors that {} does not have; they may use all",
                                 *refused, host_.node));
}

HookFacts TargetMigration::attached_facts() const {
  HookFacts facts = hook_facts(HookPhase::kAttached, preflight_.container(), id(), network_state_);
  facts.node = host_.node;
  facts.other = hello_.node();
  facts.netns = *spec_.netns_path;
  return facts;
}

Result<> TargetMigration::attach_network() {
  TRY(network_->attach());
  return announcer_->send();
}

Result<> TargetMigration::deliver_frames(const google::protobuf::RepeatedPtrField<std::string>& frames) {
  const std::vector<std::string> list(frames.begin(), frames.end());
  TRY_ASSIGN(auto count, frame_sender_->send(network_->host_ends(), list));
  frames_delivered_ += static_cast<uint32_t>(count.delivered);
  return {};
}

// --- After the commit -------------------------------------------------------------------------------------

TargetMigration::Phase<peer::TargetMessage> TargetMigration::pages_left(const peer::PagesLeft& pages_left) {
  if (auto delivered = deliver_frames(pages_left.frames()); !delivered) remember_error(delivered.error().text());
  peer::TargetMessage message;
  if (memory_) {
    *message.mutable_pages_left() = memory_->progress(kPagesLeftReply);
    if (leaving_ && !message.pages_left().done()) leave_here();
  } else {
    message.mutable_pages_left()->set_done(true);
  }
  return message;
}

TargetMigration::Phase<peer::TargetMessage> TargetMigration::finish(const peer::Finish& finish) {
  peer::TargetMessage message;
  peer::FinishReply& reply = *message.mutable_finish();
  if (auto delivered = deliver_frames(finish.frames()); !delivered) remember_error(delivered.error().text());
  for (network::CniAllocation& allocation : cni_)
    if (auto kept = allocation.commit(); !kept) reply.add_notes(kept.error().text());
  auto figure = [&](const char* name, double value) {
    peer::Figure* entry = reply.add_figures();
    entry->set_name(name);
    entry->set_value(value);
  };
  {
    std::lock_guard lock(mutex_);
    if (!error_.empty()) reply.add_notes(error_);
    for (const std::string& note : notes_) reply.add_notes(note);
  }
  restore_huge_pages();
  if (hook_.valid())
    if (std::string note = hook_.get(); !note.empty()) reply.add_notes(note);
  auto ended = restore_->wait_until(Clock::now() + 20s);
  if (!ended || !*ended || **ended != 0) reply.add_notes("runc restore did not end well on " + host_.node);
  if (memory_) memory_peak_bytes_ += memory_->store_bytes_peak();
  stop_what_arrives();
  work_.reset();
  figure("memory_peak_bytes", static_cast<double>(memory_peak_bytes_));
  figure("disk_bytes", static_cast<double>(disk_bytes_written() - disk_bytes_before_));
  figure("frames_delivered", frames_delivered_);
  set_state(State::kFinished);
  return message;
}

// By name each time: a descriptor would keep the namespace, with its ports on the bridge, after its owner has removed
// it. Another one of that name may be there by then, for the container to come back to: it is not here yet.
void TargetMigration::go_on_announcing() {
  if (!announcer_) return;
  host_.afterwards->start([first = std::move(announcer_), path = *spec_.netns_path,
                           state = network_state_](const std::stop_token& stop) mutable {
    const uint64_t ours = first->netns_cookie();
    first.reset();  // here, where nobody waits: closing a packet socket takes the kernel milliseconds
    std::mutex mutex;
    std::condition_variable_any wake;
    for (int i = 1; i <= network::kAnnouncementRepeats; ++i) {
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, kAnnouncementInterval, [] { return false; });
      auto netns = open_netns(path);
      if (stop.stop_requested() || !netns) return;
      auto announcer = network::Announcer::open(netns->get(), state);
      if (!announcer) continue;
      if (announcer->netns_cookie() != ours) return;
      (void)announcer->repeat(i);
    }
  });
}

// Memory arrives as small pages.
void TargetMigration::restore_huge_pages() {
  if (huge_.empty()) return;
  host_.afterwards->start([huge = std::move(huge_), cgroup = cgroup_](const std::stop_token& stop) {
    auto pids = proc::processes_in_cgroup(cgroup);
    if (!pids) return;
    for (pid_t pid : *pids) {
      auto space = proc::innermost_pid(pid);
      auto ranges = space ? huge.find(static_cast<SpaceId>(*space)) : huge.end();
      if (ranges != huge.end()) collapse_huge_pages(pid, ranges->second, [&] { return stop.stop_requested(); });
    }
  });
}

void TargetMigration::link_lost() {
  State state;
  {
    std::lock_guard lock(mutex_);
    state = state_;
  }
  if (state == State::kLeft || state == State::kFinished || state == State::kAborted) return;
  if (state != State::kRunning) return abort("the link to the source was lost");
  log::warn("migration {}: the link was lost after the commit; the container runs here", id());
  // The source keeps what is owed and comes back with it.
  while (memory_ && !memory_->progress(kPagesLeftReply).done())
    if (leaving_) return leave_here();
  (void)finish({});
}

// As if this agent had been killed, but for what can be done in an orderly way: the next one finds the record, the
// directory and the pager.
void TargetMigration::leave_here() {
  for (network::CniAllocation& allocation : cni_)
    if (auto kept = allocation.commit(); !kept) log::error("migration {}: {}", id(), kept.error().text());
  if (hook_.valid()) (void)hook_.get();
  (void)restore_->wait_until(Clock::now() + 5s);
  memory_->leave();
  stop_what_arrives();
  work_->keep();
  set_state(State::kLeft);
  log::info("migration {}: the container's memory goes on arriving without this agent", id());
}

void TargetMigration::stop_what_arrives() {
  bridge_.reset();
  {
    std::shared_ptr<TargetPager> memory;  // both end when the mutex is free
    std::unique_ptr<ImageReceiving> receiving;
    std::lock_guard lock(mutex_);
    memory.swap(memory_);
    receiving.swap(receiving_);
  }
  object_door_.reset();
  files_.reset();
  streams_.reset();
}

void TargetMigration::abort(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (state_ >= State::kRunning) return;
    error_ = reason;
    data_connected_ = true;  // none is taken any more
  }
  if (receiving_) receiving_->cancel();
  if (memory_) memory_->cancel();
  if (files_) files_->cancel();
  sockets_.let_go();
  undo_.roll_back();
  stop_what_arrives();
  cni_.clear();
  network_.reset();
  work_.reset();
  end_journal();
  set_state(State::kAborted);
}

// --- Data connections, on the listener's threads ----------------------------------------------------------

// Those of memory. Whether this one is wanted is for the pager to say.
bool TargetMigration::pass_on(const wire::Preamble& preamble, ScopedFd& socket) {
  std::shared_ptr<TargetPager> memory;
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::kPrepared || state_ == State::kRunning) memory = memory_;
  }
  if (!memory || preamble.channel < 1 || preamble.channel > memory->request_channel()) return false;
  auto passed = memory->take_connection(preamble.channel, socket);
  if (!passed) log::error("migration {}: godwit-pager: {}", id(), passed.error().text());
  return passed.has_value();
}

bool TargetMigration::accepts(const wire::Hello& hello, const std::vector<std::string>& peer_names) const {
  std::lock_guard lock(mutex_);
  const bool expected = hello.channel == 0 ? !data_connected_ : hello.channel == wire::kFilesChannel && files_;
  return state_ == State::kPrepared && expected && equal_secret(hello.token, token_) &&
         std::ranges::find(peer_names, hello_.node()) != peer_names.end();
}

bool TargetMigration::accept_data(std::unique_ptr<DataConnection> connection) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kPrepared) return false;
  if (connection->channel() == wire::kFilesChannel) return files_ && files_->accept(std::move(connection));
  if (connection->channel() != 0 || data_connected_) return false;
  data_connected_ = true;
  receiving_ = std::make_unique<ImageReceiving>(std::move(*writer_), std::move(connection));
  writer_.reset();
  receiving_arrived_.notify_all();
  return true;
}

// --- What others may ask ----------------------------------------------------------------------------------

void TargetMigration::set_handling(bool handling) {
  std::lock_guard lock(mutex_);
  handling_ = handling;
}

bool TargetMigration::await_silent_source(const std::stop_token& stop) const {
  constexpr auto kLookAgainAfter = 1s;
  std::condition_variable_any nobody;  // wakes it; STOP does
  std::unique_lock lock(mutex_);
  for (auto failed_at = Clock::now();;) {
    nobody.wait_for(lock, stop, kLookAgainAfter, [] { return false; });
    if (stop.stop_requested() || state_ >= State::kRunning) return false;
    const bool failed = what_arrives_failed_ || (receiving_ && receiving_->failed());
    if (handling_ || !failed) failed_at = Clock::now();
    if (Clock::now() - failed_at >= host_.peer.dead_after) return true;
  }
}

void TargetMigration::set_state(State state) {
  std::lock_guard lock(mutex_);
  state_ = state;
}

void TargetMigration::remember_error(const std::string& text) {
  std::lock_guard lock(mutex_);
  error_ = text;
}

TargetMigration::PhaseError TargetMigration::criu_error(const std::string& step, Error error) const {
  return {step, std::move(error), failure_log(directory() / "work", "restore.log")};
}

std::string TargetMigration::id() const { return hello_.migration_id(); }

peer::OutcomeReply TargetMigration::outcome() const {
  std::shared_ptr<TargetPager> memory;
  peer::OutcomeReply reply;
  reply.set_outcome(peer::OutcomeReply::ONGOING);
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::kAborted) reply.set_outcome(peer::OutcomeReply::ABORTED);
    if (state_ != State::kRunning && state_ != State::kFinished) return reply;
    if (state_ == State::kRunning) memory = memory_;
  }
  reply.set_outcome(peer::OutcomeReply::RUNNING);
  if (memory) {
    memory->describe(reply);
  } else {
    reply.mutable_pages()->set_done(true);
  }
  return reply;
}

bool TargetMigration::over() const {
  std::lock_guard lock(mutex_);
  return state_ == State::kLeft || state_ == State::kFinished || state_ == State::kAborted;
}

control::Migration TargetMigration::status() const {
  static constexpr const char* kNames[] = {"connect", "check", "prepare",  "transfer", "commit",
                                           "finish",  "left",  "finished", "aborted"};
  std::lock_guard lock(mutex_);
  control::Migration status;
  status.set_id(hello_.migration_id());
  status.set_container(preflight_.container());
  status.set_role("target");
  status.set_peer(hello_.node());
  status.set_phase(kNames[static_cast<int>(state_)]);
  status.set_ongoing(state_ < State::kLeft);
  if (state_ == State::kFinished) status.set_outcome("migrated");
  if (state_ == State::kAborted) status.set_outcome("rolled_back");
  status.set_error(error_);
  if (const auto lost = state_ == State::kRunning && memory_ ? memory_->lost() : std::nullopt) {
    status.set_phase("memory-missing");
    status.set_error("the container is frozen, and what memory it lacks is on " + hello_.node() + " only (" + *lost +
                     ")");
  }
  status.set_elapsed_ms(total_.ms());
  return status;
}

}  // namespace godwit
