#include "runtime/socket_states.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/file.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"
#include "runtime/int_option.h"
#include "runtime/multicast_groups.h"
#include "runtime/socket_options.h"
#include "runtime/tcp_keys.h"
#include "runtime/tcp_list.h"
#include "runtime/urgent_data.h"

namespace godwit {

namespace {

constexpr const char* kFileName = "godwit-sockets.img";
constexpr size_t kStatesBytesMax = size_t{128} << 20;
constexpr size_t kUrgentBytesOfAllMax = size_t{64} << 20;

// IPv4, the first one: by it programs name a link.
std::string address_of(uint32_t link, const peer::NetworkState& network) {
  for (const peer::Link& candidate : network.links()) {
    if (candidate.index() != link) continue;
    for (const peer::Address& address : network.addresses())
      if (address.family() == AF_INET && address.link() == candidate.name()) return address.address();
  }
  return "";
}

bool is_udp(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }

bool is_internet(const SocketKind& kind) { return kind.family == AF_INET || kind.family == AF_INET6; }

class Reading {
 public:
  Reading(int netns_fd, const peer::NetworkState& network) : options_(netns_fd), network_(network) {}

  Result<> prepare(pid_t process, int netns_fd) {
    groups_ = groups_around(process);
    TRY_ASSIGN(listed_, list_tcp_sockets(netns_fd));
    return {};
  }

  // Appends to STATES unless nothing has to be carried. PID and PROCESS are one, PROCESS as it sees itself.
  Result<> read(pid_t pid, uint32_t process, int descriptor, int socket, peer::SocketStates& states) {
    struct stat file{};
    if (::fstat(socket, &file) != 0 || !S_ISSOCK(file.st_mode) || !seen_.insert(file.st_ino).second) return {};
    const auto kind = kind_of(socket);
    if (!kind) return {};
    peer::SocketState state;
    for (peer::SocketOption& option : options_.read(socket, *kind)) *state.add_options() = std::move(option);
    const bool internet = is_internet(*kind);
    if (internet && kind->type != SOCK_STREAM) read_groups(socket, state);
    if (const auto listed = listed_.find(file.st_ino); listed != listed_.end())
      add_listed(socket, *kind, file.st_ino, listed->second, state);
    if (internet && kind->type == SOCK_DGRAM && is_udp(kind->protocol)) {
      TRY_ASSIGN(const bool all, peek_datagrams(socket, unread_, state));
      states.set_datagrams_left_behind(states.datagrams_left_behind() || !all);
    }
    if (!kind->connection) count_left_behind(pid, descriptor, socket, *kind, states);
    if (state.ByteSizeLong() == 0) return {};
    state.set_process(process);
    state.set_fd(static_cast<uint32_t>(descriptor));
    *states.add_sockets() = std::move(state);
    return {};
  }

 private:
  static void count_left_behind(pid_t pid, int descriptor, int socket, const SocketKind& kind,
                                peer::SocketStates& states) {
    pollfd asked{.fd = socket, .events = POLLIN, .revents = 0};
    if (::poll(&asked, 1, 0) <= 0) return;
    if ((asked.revents & POLLERR) != 0) states.set_errors_left_behind(states.errors_left_behind() + 1);
    if ((asked.revents & POLLIN) == 0) return;
    const bool raw = kind.family == AF_PACKET || (is_internet(kind) && kind.type == SOCK_RAW);
    if (raw) states.set_unread_left_behind(states.unread_left_behind() + 1);
    if (kind.family != AF_UNIX) return;
    if (const auto info = proc::fd_info(pid, descriptor)) states.set_in_flight(states.in_flight() + info->in_flight);
  }

  static void add_listed(int socket, const SocketKind& kind, ino_t inode, const ListedTcp& listed,
                         peer::SocketState& state) {
    state.mutable_keys()->Assign(listed.keys.begin(), listed.keys.end());
    if (!kind.connection || !has_urgent_mark(socket, listed.received)) return;
    state.mutable_urgent()->set_inode(inode);
    state.mutable_urgent()->set_received(listed.received);
  }

  void read_groups(int socket, peer::SocketState& state) {
    for (const MulticastGroup& group : groups_) {
      auto membership = membership_in(socket, group);
      if (!membership) continue;
      if (membership->group().size() == sizeof(in_addr))
        membership->set_address(address_of(membership->link(), network_));
      *state.add_memberships() = std::move(*membership);
    }
  }

  SocketOptionReader options_;
  const peer::NetworkState& network_;
  std::vector<MulticastGroup> groups_;
  std::map<ino_t, ListedTcp> listed_;
  std::set<ino_t> seen_;
  UnreadBounds unread_;
};

// By the pids that the processes themselves see.
std::map<uint32_t, ScopedFd> open_pidfds(const std::vector<pid_t>& processes) {
  std::map<uint32_t, ScopedFd> pidfds;
  for (const pid_t pid : processes) {
    auto pidfd = open_pidfd(pid);
    const auto number = proc::innermost_pid(pid);
    if (pidfd && number) pidfds[static_cast<uint32_t>(*number)] = std::move(*pidfd);
  }
  return pidfds;
}

Result<ScopedFd> copy_of(const ScopedFd& fd) {
  ScopedFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail_errno("F_DUPFD_CLOEXEC");
  return copy;
}

std::string name_of(const peer::SocketState& state) {
  return fmt::format("descriptor {} of process {}", state.fd(), state.process());
}

Result<ScopedFd> socket_of(const std::map<uint32_t, ScopedFd>& pidfds, const peer::SocketState& state) {
  const auto process = pidfds.find(state.process());
  if (process == pidfds.end()) return fail(name_of(state) + " was not restored");
  auto socket = copy_fd_from(process->second.get(), static_cast<int>(state.fd()));
  struct stat file{};
  if (!socket || ::fstat(socket->get(), &file) != 0 || !S_ISSOCK(file.st_mode))
    return fail(name_of(state) + " was not restored as a socket");
  return socket;
}

bool is_peek_offset(const peer::SocketOption& option) {
  return option.level() == SOL_SOCKET && option.name() == SO_PEEK_OFF;
}

// It is OPTIONS[AT], which goes if there is none any more.
void read_peek_offset_again(int socket, std::ptrdiff_t at,
                            google::protobuf::RepeatedPtrField<peer::SocketOption>& options) {
  const auto now = int_option(socket, SOL_SOCKET, SO_PEEK_OFF);
  if (now && *now >= 0) {
    options[static_cast<int>(at)].set_value(std::string(reinterpret_cast<const char*>(&*now), sizeof *now));
  } else {
    options.erase(options.begin() + at);
  }
}

Result<> check_state(const peer::SocketState& state) {
  if (state.options_size() > kOptionsPerSocketMax) return fail("too many options of a socket");
  if (state.memberships_size() > kMembershipsPerSocketMax) return fail("too many multicast groups of a socket");
  if (state.keys_size() > kKeysPerSocketMax) return fail("too many TCP keys of a socket");
  for (const peer::SocketOption& option : state.options()) TRY(check_socket_option(option));
  for (const peer::Membership& membership : state.memberships()) TRY(check_membership(membership));
  for (const peer::TcpKey& key : state.keys()) TRY(check_tcp_key(key));
  for (const peer::Datagram& datagram : state.unread()) TRY(check_datagram(datagram));
  if (state.has_urgent()) TRY(check_urgent_data(state.urgent()));
  return {};
}

}  // namespace

Result<peer::SocketStates> read_socket_states(const std::vector<pid_t>& processes, int netns_fd,
                                              const peer::NetworkState& network) {
  peer::SocketStates states;
  if (processes.empty()) return states;
  Reading reading(netns_fd, network);
  TRY(reading.prepare(processes.front(), netns_fd));
  for (const pid_t pid : processes) {
    const auto pidfd = open_pidfd(pid);
    const auto files = proc::open_files(pid);
    const auto number = proc::innermost_pid(pid);
    if (!pidfd || !files || !number) continue;  // a zombie has none
    for (const proc::OpenFile& file : *files) {
      if (!file.link.starts_with("socket:")) continue;
      if (const auto socket = copy_fd_from(pidfd->get(), file.fd))
        TRY(reading.read(pid, static_cast<uint32_t>(*number), file.fd, socket->get(), states));
    }
  }
  return states;
}

Result<> complete_socket_states(const std::vector<pid_t>& processes, peer::SocketStates& states) {
  std::map<uint32_t, ScopedFd> pidfds;
  size_t urgent_bytes = 0;
  for (peer::SocketState& state : *states.mutable_sockets()) {
    const auto& options = state.options();
    const auto offset = std::ranges::find_if(options, is_peek_offset);
    if (offset == options.end() && !state.has_urgent()) continue;
    if (pidfds.empty()) pidfds = open_pidfds(processes);
    const auto socket = socket_of(pidfds, state);
    if (offset != options.end())
      read_peek_offset_again(socket ? socket->get() : -1, offset - options.begin(), *state.mutable_options());
    if (!state.has_urgent()) continue;
    if (!socket) return std::unexpected(socket.error());
    if (state.keys_size() > 0) return fail("a TCP socket with keys (TCP_MD5SIG) and urgent data that was not read");
    auto carried = peek_urgent_data(socket->get(), *state.mutable_urgent());
    if (!carried) return std::unexpected(std::move(carried.error()).during(name_of(state)));
    if (!*carried) state.clear_urgent();
    urgent_bytes += state.urgent().data().size();
    if (urgent_bytes > kUrgentBytesOfAllMax) return fail("there is more urgent data than can be carried");
  }
  return {};
}

Result<> write_socket_states(const peer::SocketStates& states, const std::filesystem::path& directory) {
  if (states.ByteSizeLong() == 0) return {};
  return write_file(directory / kFileName, states.SerializeAsString());
}

Result<peer::SocketStates> load_socket_states(const std::filesystem::path& directory) {
  peer::SocketStates states;
  std::error_code error;
  if (!std::filesystem::exists(directory / kFileName, error)) return states;
  TRY_ASSIGN(const std::string text, read_file(directory / kFileName, kStatesBytesMax));
  if (!states.ParseFromString(text)) return fail("the state of the sockets cannot be read");
  TRY(check_socket_states(states));
  return states;
}

Result<> check_socket_states(const peer::SocketStates& states) {
  if (states.sockets_size() > kSocketStatesMax) return fail("the state of too many sockets");
  for (const peer::SocketState& state : states.sockets()) TRY(check_state(state));
  return {};
}

Result<SocketRestoring> SocketRestoring::apply(const peer::SocketStates& states, const std::vector<pid_t>& processes) {
  SocketRestoring restoring;
  if (states.datagrams_left_behind()) restoring.notes_.emplace_back("left behind: some datagrams that were not read");
  if (states.unread_left_behind() > 0)
    restoring.notes_.push_back(
        fmt::format("left behind: what {} raw and packet sockets had to be read", states.unread_left_behind()));
  if (states.errors_left_behind() > 0)
    restoring.notes_.push_back(
        fmt::format("left behind: what waited in the error queues of {} sockets", states.errors_left_behind()));
  if (states.in_flight() > 0)
    restoring.notes_.push_back(
        fmt::format("left behind: options of sockets among the {} descriptors on their way through UNIX sockets",
                    states.in_flight()));
  if (states.sockets().empty()) return restoring;
  const std::map<uint32_t, ScopedFd> pidfds = open_pidfds(processes);
  for (const peer::SocketState& state : states.sockets()) {
    TRY_ASSIGN(auto socket, socket_of(pidfds, state));
    TRY_DOING(name_of(state), restoring.apply(state, std::move(socket)));
  }
  return restoring;
}

Result<> SocketRestoring::apply(const peer::SocketState& state, ScopedFd socket) {
  for (const peer::SocketOption& option : state.options()) {
    const auto set = set_socket_option(socket.get(), option);
    if (set) continue;
    if (is_needed(option)) return fail(set.error());
    notes_.push_back(name_of(state) + ": " + set.error().text());
  }
  for (const peer::TcpKey& key : state.keys()) TRY(set_tcp_key(socket.get(), key));
  for (const peer::Membership& membership : state.memberships()) TRY(join_group(socket.get(), membership));
  if (!state.unread().empty()) {
    TRY_ASSIGN(ScopedFd copy, copy_of(socket));
    unread_.emplace_back(std::move(copy), state);
  }
  if (state.has_urgent()) {
    TRY_ASSIGN(ScopedFd copy, copy_of(socket));
    urgent_.push_back({std::move(copy), state.urgent(), name_of(state)});
  }
  if (!state.memberships().empty())
    members_.push_back({std::move(socket), {state.memberships().begin(), state.memberships().end()}});
  return {};
}

void SocketRestoring::announce_groups() {
  for (const Member& member : members_)
    for (const peer::Membership& membership : member.memberships)
      if (auto joined = rejoin_group(member.socket.get(), membership); !joined) notes_.push_back(joined.error().text());
  members_.clear();
}

}  // namespace godwit
