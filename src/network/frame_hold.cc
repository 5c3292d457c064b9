#include "network/frame_hold.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/identifier.h"
#include "kernel/rtnetlink.h"
#include "network/frame_filter.h"
#include "network/frame_queue.h"
#include "network/hold_tap.h"
#include "network/macvlan_frames.h"

namespace godwit::network {
namespace {

constexpr auto kEndsWithin = std::chrono::milliseconds(200);

}  // namespace

struct FrameHold::Shared {
  // kNoMore: what comes goes to the container, after what was held.
  enum class Hold { kNothing, kNewConnections, kAll, kNoMore };
  Shared(RouteSocket route_socket, FrameSender frame_sender, FrameFilter frame_filter, HoldBounds bounds)
      : socket(std::move(route_socket)),
        sender(std::move(frame_sender)),
        filter(std::move(frame_filter)),
        queue(bounds) {}

  Result<> divert(bool on);
  void undo_divert();
  void stop();
  void read_until_stopped();
  void end_macvlans();
  void read_all(int tap, MacvlanDiversion* diversion = nullptr);
  void take(std::string_view frame);
  void pass(std::span<const std::string> frames);
  void hold(Hold what);
  void hold_no_more();

  RouteSocket socket;  // in the host's namespace
  FrameSender sender;  // likewise
  const FrameFilter filter;
  FrameQueue queue;
  std::vector<HostEnd> ends;
  std::vector<std::string> notes;
  std::vector<HoldTap> taps;                 // one for each port
  std::vector<MacvlanDiversion> diversions;  // one for each macvlan
  ScopedFd stopper;                          // an eventfd
  std::atomic<Hold> held = Hold::kNothing;
  std::mutex passing;    // a frame goes to the container
  DeliveryCount passed;  // of frames that were held, and what came after them
  Result<> pass_failure;
  std::vector<char> buffer = std::vector<char>(kFrameBytesMax);  // the reader's
  std::thread reader;
};

// Entries first when turning on: from then on frames go to the taps, while the ports are still
// there. Macvlans' diversions are ended by the reader.
Result<> FrameHold::Shared::divert(bool on) {
  if (on)
    for (MacvlanDiversion& diversion : diversions) diversion.begin();
  std::vector<NetlinkRequest> requests;
  for (const HoldTap& tap : taps) tap.add_diversion(on, requests);
  TRY_ASSIGN(auto verdicts, socket.call_all(requests));
  for (auto& verdict : verdicts)
    if (on) TRY_DOING("diverting the container's frames", std::move(verdict));
  return {};
}

// What is still diverted goes on to the container.
void FrameHold::Shared::undo_divert() {
  (void)divert(false);
  hold_no_more();
}

void FrameHold::Shared::read_all(int tap, MacvlanDiversion* diversion) {
  for (;;) {
    ssize_t bytes = read(tap, buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return;
    std::string_view frame(buffer.data(), static_cast<size_t>(bytes));
    take(frame);
    if (diversion) diversion->note_read(frame);
  }
}

void FrameHold::Shared::take(std::string_view frame) {
  std::lock_guard lock(passing);
  if (held == Hold::kAll && filter.wants(frame)) return queue.push(frame);
  if (held == Hold::kNoMore && filter.wants(frame)) {
    const std::string frame_bytes(frame);
    return pass({&frame_bytes, 1});
  }
  if (held != Hold::kNewConnections || !filter.is_to_container(frame)) return;  // the ports have it as well
  if (opens_tcp_connection(frame)) return queue.push(frame);
  const std::string frame_bytes(frame);
  (void)sender.send(ends, {&frame_bytes, 1});
}

void FrameHold::Shared::pass(std::span<const std::string> frames) {
  auto count = sender.send(ends, frames);
  if (!count) {
    pass_failure = std::unexpected(std::move(count.error()));
    return;
  }
  passed.delivered += count->delivered;
  passed.refused += count->refused;
}

// The rounds: so that the reader has to wait for a short time only. Their bound: a sender faster than this loop.
void FrameHold::Shared::hold_no_more() {
  for (int round = 0; round < 16 && queue.bytes() > 0; ++round) pass(queue.take());
  std::lock_guard lock(passing);
  pass(queue.take());
  held = Hold::kNoMore;
}

// Afterwards no frame is on its way to the container any more that it should not have.
void FrameHold::Shared::hold(Hold what) {
  std::lock_guard lock(passing);
  held = what;
}

// What is in the taps when the stop is asked for is still read.
void FrameHold::Shared::read_until_stopped() {
  std::vector<pollfd> waits = {{.fd = stopper.get(), .events = POLLIN, .revents = 0}};
  for (const HoldTap& tap : taps) waits.push_back({.fd = tap.fd(), .events = POLLIN, .revents = 0});
  for (const MacvlanDiversion& each : diversions) waits.push_back({.fd = each.fd(), .events = POLLIN, .revents = 0});
  while (!(waits[0].revents & POLLIN)) {
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    for (const HoldTap& tap : taps) read_all(tap.fd());
    for (MacvlanDiversion& each : diversions) read_all(each.fd(), &each);
  }
  end_macvlans();
}

// In order, unless frames come without a pause as long as it takes to look for one.
void FrameHold::Shared::end_macvlans() {
  for (MacvlanDiversion& diversion : diversions) {
    const Deadline deadline = Clock::now() + kEndsWithin;
    do read_all(diversion.fd(), &diversion);
    while (!diversion.end_if_all_read() && Clock::now() < deadline);
    diversion.end();
    read_all(diversion.fd(), &diversion);
  }
}

void FrameHold::Shared::stop() {
  if (!reader.joinable()) return;
  if (held != Hold::kNothing) (void)divert(false);
  (void)eventfd_write(stopper.get(), 1);
  reader.join();
  held = Hold::kNothing;
  taps.clear();
  diversions.clear();
}

FrameHold::FrameHold(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}
FrameHold::FrameHold(FrameHold&&) noexcept = default;
FrameHold::~FrameHold() {
  if (shared_) stop();
}

Result<FrameHold> FrameHold::prepare(const std::vector<HostPort>& ports, const peer::NetworkState& state,
                                     const std::string& id, HoldBounds bounds) {
  TRY(check_id(id));
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  std::vector<HostEnd> ends = as_host_ends(ports);
  TRY_ASSIGN(FrameSender sender, FrameSender::open(ends, id));
  auto shared = std::make_unique<Shared>(std::move(socket), std::move(sender), FrameFilter(ports, state), bounds);
  for (size_t i = 0; i < ports.size(); ++i) {
    std::string name = "gh" + id.substr(0, 10) + std::to_string(i);
    if (ports[i].macvlan) {
      auto diversion = MacvlanDiversion::make(shared->socket, name, ports[i]);
      if (diversion) shared->diversions.push_back(std::move(*diversion));
      if (!diversion)
        shared->notes.push_back("packets that come for " + ports[i].link +
                                ", a macvlan, during the downtime are not held: " + diversion.error().text());
      continue;
    }
    TRY_ASSIGN(HoldTap tap, HoldTap::make(shared->socket, name, ports[i]));
    shared->taps.push_back(std::move(tap));
  }
  shared->ends = std::move(ends);
  shared->stopper.reset(eventfd(0, EFD_CLOEXEC));
  if (!shared->stopper) return fail_errno("eventfd");
  shared->reader = std::thread([hold = shared.get()] { hold->read_until_stopped(); });
  return FrameHold(std::move(shared));
}

Result<> FrameHold::begin(PortDetachment& detachment) {
  if (!shared_->reader.joinable()) return fail("the hold has ended");
  shared_->hold(Shared::Hold::kAll);
  auto begun = shared_->divert(true);  // once more, if new connections were held: the container sends nothing now
  // Where its frames are diverted a macvlan leaves its LAN with the others: what has been passed to it may be on its
  // way.
  if (begun && !shared_->notes.empty()) begun = detachment.detach_macvlans();
  if (!begun) shared_->undo_divert();
  return begun;
}

Result<> FrameHold::hold_new_connections() {
  if (!shared_->reader.joinable()) return fail("the hold has ended");
  shared_->hold(Shared::Hold::kNewConnections);
  auto begun = shared_->divert(true);
  if (!begun) shared_->undo_divert();
  return begun;
}

std::vector<std::string> FrameHold::take(size_t bytes_max) { return shared_->queue.take(bytes_max); }

size_t FrameHold::bytes_waiting() const { return shared_->queue.bytes(); }

Result<DeliveryCount> FrameHold::give_back(PortDetachment& detachment) {
  TRY(detachment.reattach());
  // The port is back, and its frames still come here.
  shared_->hold_no_more();
  stop();
  TRY(std::move(shared_->pass_failure));
  return shared_->passed;
}

void FrameHold::stop() { shared_->stop(); }

std::vector<std::string> FrameHold::notes() const { return shared_->notes; }

HoldCount FrameHold::count() const { return shared_->queue.count(); }

}  // namespace godwit::network
