#include "migration/target_sockets.h"

#include <fmt/format.h>

#include <utility>

#include "network/datagram_delivery.h"
#include "network/loopback_sender.h"
#include "network/remembered_connections.h"
#include "network/urgent_delivery.h"
#include "runtime/urgent_data.h"

namespace godwit {

Result<> TargetSockets::make_remembered(
    const google::protobuf::RepeatedPtrField<peer::RememberedConnection>& connections,
    const network::RecreatedNamespace& network) {
  if (connections.empty()) return {};
  if (connections.size() > network::kRememberedMax) return fail("too many remembered connections");
  for (const peer::RememberedConnection& connection : connections) TRY(network::check_remembered(connection));
  TRY_ASSIGN(const size_t refused, network::make_remembered(network, {connections.begin(), connections.end()}));
  if (refused > 0) notes_.push_back(network::note_of_forgotten(refused));
  return {};
}

Result<> TargetSockets::load(const std::filesystem::path& images) {
  TRY_ASSIGN(states_, load_socket_states(images));
  return end_images_at_marks(images, states_);
}

Result<> TargetSockets::restore(const std::vector<pid_t>& processes, const network::RecreatedNamespace& network,
                                const peer::NetworkState& state, network::FrameSender& frames) {
  TRY_ASSIGN(auto restoring, SocketRestoring::apply(states_, processes));
  states_.Clear();
  restoring_.emplace(std::move(restoring));
  TRY(deliver_urgent(network));
  return deliver_unread(network, state, frames);
}

Result<> TargetSockets::deliver_urgent(const network::RecreatedNamespace& network) {
  network::LoopbackSender inside(network.netns_fd());
  for (const SocketRestoring::Urgent& urgent : restoring_->urgent())
    TRY_DOING(urgent.name, network::deliver_urgent(urgent.socket.get(), urgent.data, inside));
  restoring_->urgent().clear();
  return {};
}

// They are gone with the container if it does not stay here.
Result<> TargetSockets::deliver_unread(const network::RecreatedNamespace& network, const peer::NetworkState& state,
                                       network::FrameSender& frames) {
  network::DatagramDelivery delivery(network, state, frames);
  for (const UnreadDatagrams& unread : restoring_->unread()) {
    // What was sent to a group has come already, if it was another member's too.
    for (const peer::Datagram* datagram : unread.missing()) TRY(delivery.deliver(*datagram, unread.port()));
    if (const auto lost = unread.await(); !lost.empty())
      notes_.push_back(fmt::format("{} datagrams that were not read at port {} are lost", lost.size(), unread.port()));
  }
  restoring_->unread().clear();
  return {};
}

void TargetSockets::announce_groups() {
  if (!restoring_) return;
  restoring_->announce_groups();
  notes_.insert(notes_.end(), restoring_->notes().begin(), restoring_->notes().end());
  let_go();
}

std::vector<std::string> TargetSockets::take_notes() { return std::exchange(notes_, {}); }

}  // namespace godwit
