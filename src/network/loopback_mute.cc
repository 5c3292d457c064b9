#include "network/loopback_mute.h"

#include <linux/pkt_sched.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "kernel/netns.h"

namespace godwit::network {
namespace {

constexpr int kLoopbackIndex = 1;  // in every namespace

tcmsg root_of_loopback() {
  tcmsg header{};
  header.tcm_ifindex = kLoopbackIndex;
  header.tcm_parent = TC_H_ROOT;
  header.tcm_handle = kMuteHandle;
  return header;
}

// The kernel refuses it if the root has another handle (EINVAL) or none (ENOENT).
NetlinkRequest unmuting() { return NetlinkRequest(RTM_DELQDISC, 0, root_of_loopback()); }

}  // namespace

LoopbackMute::LoopbackMute(LoopbackMute&& other) noexcept
    : socket_(std::move(other.socket_)), begun_(std::exchange(other.begun_, false)) {}

LoopbackMute::~LoopbackMute() {
  if (auto ended = end(); !ended) log::error("{}", ended.error().text());
}

Result<LoopbackMute> LoopbackMute::prepare(int netns_fd) {
  TRY_ASSIGN(auto socket, in_netns(netns_fd, RouteSocket::open));
  return LoopbackMute(std::move(socket));
}

Result<> LoopbackMute::begin() {
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, root_of_loopback());
  TRY_DOING("muting lo", socket_.call(request.add_string(TCA_KIND, "blackhole")));
  begun_ = true;
  return {};
}

Result<> LoopbackMute::end() {
  if (!begun_) return {};
  TRY_DOING("unmuting lo", socket_.call(unmuting()));
  begun_ = false;
  return {};
}

Result<> LoopbackMute::end_left(int netns_fd) {
  TRY_ASSIGN(auto socket, in_netns(netns_fd, RouteSocket::open));
  auto ended = socket.call(unmuting());
  if (!ended && (ended.error().code() == EINVAL || ended.error().code() == ENOENT)) return {};
  return ended;
}

}  // namespace godwit::network
