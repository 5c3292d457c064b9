#include "migration/source_sockets.h"

#include <utility>

#include "runtime/lens_files.h"
#include "runtime/socket_locks.h"
#include "runtime/socket_states.h"

namespace godwit {

void SourceSockets::prepare(int netns_fd, const std::vector<network::HostPort>& ports, const std::string& id) {
  if (auto watch = network::TcpWatch::open(netns_fd)) watch_.emplace(std::move(*watch));
  if (auto reader = network::RememberedReader::open(ports, id)) reader_.emplace(std::move(*reader));
}

Result<> SourceSockets::look_for_locks(const std::vector<pid_t>& processes, const std::filesystem::path& lens) {
  TRY_ASSIGN(const bool locked, have_locked_sockets(processes));
  if (locked) return {};
  were_unlocked_ = true;
  return write_lens_unlocked_sockets(lens);
}

Result<peer::SocketStates> SourceSockets::read(const std::vector<pid_t>& processes, int netns_fd,
                                               const peer::NetworkState& network,
                                               const std::function<Result<>()>& leave_bridge) {
  TRY_ASSIGN(auto states, read_socket_states(processes, netns_fd, network));
  read_remembered(netns_fd, network, leave_bridge);
  if (!were_unlocked_) return states;
  TRY_ASSIGN(const bool locked, have_locked_sockets(processes));
  if (locked) return fail("it locked a socket (flock) just before it was frozen; try again");
  return states;
}

void SourceSockets::read_remembered(int netns_fd, const peer::NetworkState& network,
                                    const std::function<Result<>()>& leave_bridge) {
  if (!watch_) return;
  const auto list = watch_->remembered();
  if (!list || list->empty() || !leave_bridge()) return;  // why it does not is found out by others
  remembered_.forgotten = list->size();
  if (!reader_) return;
  if (auto read = reader_->read(netns_fd, *list, network)) remembered_ = std::move(*read);
}

Result<> SourceSockets::add_to_images(const std::vector<pid_t>& processes, peer::SocketStates states,
                                      const std::filesystem::path& images) {
  TRY(complete_socket_states(processes, states));
  return write_socket_states(states, images);
}

}  // namespace godwit
