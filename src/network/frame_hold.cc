#include "network/frame_hold.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/identifier.h"
#include "kernel/netns.h"
#include "kernel/rtnetlink.h"
#include "network/frame_filter.h"
#include "network/frame_queue.h"
#include "network/hold_tap.h"
#include "network/macvlan_frames.h"

namespace godwit::network {

struct FrameHold::Shared {
  enum class Hold { kNothing, kNewConnections, kAll };
  Shared(RouteSocket route_socket, FrameSender frame_sender, FrameFilter frame_filter, HoldBounds bounds)
      : socket(std::move(route_socket)),
        sender(std::move(frame_sender)),
        filter(std::move(frame_filter)),
        queue(bounds) {}

  Result<> divert(bool on);
  Result<> divert_ports(bool on);
  void stop();
  void read_until_stopped();
  void read_all(int tap, std::vector<char>& buffer);
  void take(std::string_view frame);
  void hold(Hold what);

  RouteSocket socket;  // in the host's namespace
  FrameSender sender;  // likewise
  ScopedFd host_netns;
  const FrameFilter filter;
  FrameQueue queue;
  std::vector<HostPort> ports;
  std::vector<std::string> notes;
  std::vector<HoldTap> taps;                 // one for each port
  std::vector<MacvlanDiversion> diversions;  // one for each macvlan
  ScopedFd stopper;                          // an eventfd
  std::atomic<Hold> held = Hold::kNothing;
  std::mutex passing;  // a frame goes to the container
  std::thread reader;
};

Result<> FrameHold::Shared::divert(bool on) {
  for (MacvlanDiversion& diversion : diversions) {
    if (!on) diversion.end();
    if (on)
      TRY_DOING("diverting the container's frames", in_netns(host_netns.get(), [&] { return diversion.begin(); }));
  }
  return divert_ports(on);
}

// Entries first when turning on: from then on frames go to the taps, while the ports are still
// there.
Result<> FrameHold::Shared::divert_ports(bool on) {
  std::vector<NetlinkRequest> requests;
  for (const HoldTap& tap : taps) tap.add_diversion(on, requests);
  TRY_ASSIGN(auto verdicts, socket.call_all(requests));
  for (auto& verdict : verdicts)
    if (on) TRY_DOING("diverting the container's frames", std::move(verdict));
  return {};
}

void FrameHold::Shared::read_all(int tap, std::vector<char>& buffer) {
  for (;;) {
    ssize_t bytes = read(tap, buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return;
    std::string_view frame(buffer.data(), static_cast<size_t>(bytes));
    take(frame);
  }
}

void FrameHold::Shared::take(std::string_view frame) {
  std::lock_guard lock(passing);
  if (held == Hold::kAll && filter.wants(frame)) return queue.push(frame);
  if (held != Hold::kNewConnections || !filter.is_to_container(frame)) return;  // the ports have it as well
  if (opens_tcp_connection(frame)) return queue.push(frame);
  const std::string passed(frame);
  (void)sender.send(as_host_ends(ports), {&passed, 1});
}

// Afterwards no frame is on its way to the container any more that it should not have.
void FrameHold::Shared::hold(Hold what) {
  std::lock_guard lock(passing);
  held = what;
}

// What is in the taps when the stop is asked for is still read.
void FrameHold::Shared::read_until_stopped() {
  std::vector<char> buffer(kFrameBytesMax);
  std::vector<pollfd> waits = {{.fd = stopper.get(), .events = POLLIN, .revents = 0}};
  for (const HoldTap& tap : taps) waits.push_back({.fd = tap.fd(), .events = POLLIN, .revents = 0});
  for (const MacvlanDiversion& tap : diversions) waits.push_back({.fd = tap.fd(), .events = POLLIN, .revents = 0});
  while (!(waits[0].revents & POLLIN)) {
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    for (size_t i = 1; i < waits.size(); ++i) read_all(waits[i].fd, buffer);
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
  TRY_ASSIGN(FrameSender sender, FrameSender::open(as_host_ends(ports), id));
  auto shared = std::make_unique<Shared>(std::move(socket), std::move(sender), FrameFilter(ports, state), bounds);
  TRY_ASSIGN(shared->host_netns, open_current_netns());
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
  shared->ports = ports;
  shared->stopper.reset(eventfd(0, EFD_CLOEXEC));
  if (!shared->stopper) return fail_errno("eventfd");
  shared->reader = std::thread([hold = shared.get()] { hold->read_until_stopped(); });
  return FrameHold(std::move(shared));
}

Result<> FrameHold::begin(PortDetachment& detachment) {
  if (!shared_->reader.joinable()) return fail("the hold has ended");
  const bool diverted = shared_->held != Shared::Hold::kNothing;
  shared_->hold(Shared::Hold::kAll);
  auto begun = diverted ? Result<>() : shared_->divert(true);
  // Where its frames are diverted a macvlan leaves its LAN with the others: what has been passed to it may be on its
  // way.
  if (begun && !shared_->notes.empty()) begun = detachment.detach_macvlans();
  if (begun) return {};
  (void)shared_->divert(false);
  shared_->hold(Shared::Hold::kNothing);
  return begun;
}

Result<> FrameHold::hold_new_connections() {
  if (!shared_->reader.joinable()) return fail("the hold has ended");
  shared_->hold(Shared::Hold::kNewConnections);
  auto begun = shared_->divert(true);
  if (begun) return {};
  (void)shared_->divert(false);
  shared_->hold(Shared::Hold::kNothing);
  return begun;
}

std::vector<std::string> FrameHold::take(size_t bytes_max) { return shared_->queue.take(bytes_max); }

size_t FrameHold::bytes_waiting() const { return shared_->queue.bytes(); }

Result<DeliveryCount> FrameHold::give_back(PortDetachment& detachment) {
  TRY(detachment.reattach());
  std::vector<HostEnd> ends = as_host_ends(shared_->ports);
  DeliveryCount total;
  auto deliver = [&](const std::vector<std::string>& frames) -> Result<> {
    TRY_ASSIGN(DeliveryCount count, shared_->sender.send(ends, frames));
    total.delivered += count.delivered;
    total.refused += count.refused;
    return {};
  };
  // The port is back, and its frames still come here: deliver until none is waiting, then let go.
  // The bound: a sender faster than this loop.
  for (int round = 0; round < 16; ++round) {
    auto frames = take();
    if (frames.empty()) break;
    TRY(deliver(frames));
  }
  stop();
  TRY(deliver(take()));
  return total;
}

void FrameHold::stop() { shared_->stop(); }

std::vector<std::string> FrameHold::notes() const { return shared_->notes; }

HoldCount FrameHold::count() const { return shared_->queue.count(); }

}  // namespace godwit::network
