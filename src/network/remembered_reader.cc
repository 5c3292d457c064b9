#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernel/netns.h"
#include "network/ip_address.h"
#include "network/ip_packets.h"
#include "network/mac.h"
#include "network/macvlan_message.h"
#include "network/remembered_connections.h"
#include "network/tcp_segment.h"

namespace godwit::network {
namespace {

using namespace std::chrono_literals;

// The kernel answers before the question has been sent, unless it does not know the next hop's MAC any more.
constexpr auto kAnswersWithin = 3ms;
// So many answers fit in a socket's buffer of the usual size (net.core.rmem_default, 208 KiB).
constexpr size_t kQuestionsAtOnce = 64;
constexpr size_t kAnswerBytesMax = 256;  // what is read of one; an acknowledgement has at most 120
// Two that are far apart: one may be what the connection waits for, which is not answered.
constexpr uint32_t kSequences[] = {0, 1U << 31};

bool is_inside(const std::string& address, const peer::NetworkState& network) {
  return is_loopback(address) ||
         std::ranges::any_of(network.addresses(), [&](const peer::Address& own) { return own.address() == address; });
}

// With neither SYN, ACK nor RST nothing comes of it, where it fits by chance.
TcpSegment question_about(const peer::RememberedConnection& connection, uint32_t sequence) {
  return {.source = connection.remote(),
          .destination = connection.local(),
          .source_port = static_cast<uint16_t>(connection.remote_port()),
          .destination_port = static_cast<uint16_t>(connection.local_port()),
          .sequence = sequence,
          .flags = TH_PUSH,
          .data = std::string(1, '\0')};  // without data, the kernel answers only twice a second
}

}  // namespace

RememberedReader::RememberedReader(std::vector<HostPort> ports, FrameSender frames)
    : ports_(std::move(ports)), ends_(as_host_ends(ports_)), frames_(std::move(frames)), asker_(high_mac()) {}

Result<RememberedReader> RememberedReader::open(const std::vector<HostPort>& ports, const std::string& id) {
  TRY_ASSIGN(FrameSender frames, FrameSender::open(as_host_ends(ports), id, 'q'));
  std::vector<HostPort> with_a_way_in = ports;
  if (!frames.notes().empty()) std::erase_if(with_a_way_in, [](const HostPort& port) { return port.macvlan; });
  return RememberedReader(std::move(with_a_way_in), std::move(frames));
}

// We to the answers, macvlans to the questions: off their LAN they hear nobody else.
Result<> RememberedReader::begin_to_listen(int netns_fd) {
  TRY_ASSIGN(answers_, in_netns(netns_fd, []() -> Result<ScopedFd> {
               ScopedFd made(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)));
               if (!made) return fail_errno("packet socket");
               return made;
             }));
  if (std::ranges::none_of(ports_, &HostPort::macvlan)) return {};
  TRY_ASSIGN(RouteSocket inside, in_netns(netns_fd, RouteSocket::open));
  for (const HostPort& port : ports_)
    if (port.macvlan) TRY(inside.call(admit_source_request(port.inner_index, asker_)));
  return {};
}

Result<RememberedReader::Read> RememberedReader::read(int netns_fd, const std::vector<peer::RememberedConnection>& list,
                                                      const peer::NetworkState& network) {
  TRY(begin_to_listen(netns_fd));
  size_t outside = 0;
  for (const peer::RememberedConnection& connection : list) {
    if (is_inside(connection.remote(), network)) continue;
    ++outside;
    const HostEnd* by = end_of(connection.local(), network);
    if (by == nullptr || unanswered_.size() >= kRememberedMax) continue;
    unanswered_[{connection.local(), connection.local_port(), connection.remote(), connection.remote_port()}] = {
        connection, by};
  }
  for (const uint32_t sequence : kSequences) {
    if (unanswered_.empty()) break;
    TRY(ask_all(sequence));
    await_answers(Clock::now() + kAnswersWithin);
  }
  const size_t forgotten = outside - known_.size();
  return Read{.known = std::exchange(known_, {}), .forgotten = forgotten};
}

const HostEnd* RememberedReader::end_of(const std::string& local, const peer::NetworkState& network) const {
  for (const peer::Address& address : network.addresses()) {
    if (address.address() != local) continue;
    const auto port = std::ranges::find(ports_, address.link(), &HostPort::link);
    if (port != ports_.end()) return &ends_[static_cast<size_t>(port - ports_.begin())];
  }
  return nullptr;
}

Result<> RememberedReader::ask_all(uint32_t sequence) {
  std::vector<Asked> questions;
  for (const auto& [ends, asked] : unanswered_) questions.push_back(asked);
  size_t count = 0;
  for (const Asked& asked : questions) {
    TRY(ask(asked, sequence));
    if (++count % kQuestionsAtOnce == 0) take_answers();
  }
  return {};
}

Result<> RememberedReader::ask(const Asked& asked, uint32_t sequence) {
  const std::string frame =
      ethernet_header(as_bytes(asked.by->container_mac), is_v4(asked.connection.local()), as_bytes(asker_)) +
      tcp_packet(question_about(asked.connection, sequence));
  TRY(frames_.send({asked.by, 1}, {&frame, 1}));
  return {};
}

void RememberedReader::take_answers() {
  std::array<char, kAnswerBytesMax> buffer;
  for (;;) {
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const ssize_t size =
        ::recvfrom(answers_.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (size < 0) return;  // none; or a link went down, which others will notice
    if (from.sll_pkttype == PACKET_OUTGOING) take_answer({buffer.data(), static_cast<size_t>(size)});
  }
}

void RememberedReader::take_answer(std::string_view packet) {
  const auto segment = parse_tcp_packet(packet);
  if (!segment || (segment->flags & (TH_ACK | TH_SYN | TH_FIN | TH_RST)) != TH_ACK || !segment->data.empty()) return;
  const auto asked =
      unanswered_.find({segment->source, segment->source_port, segment->destination, segment->destination_port});
  if (asked == unanswered_.end()) return;
  peer::RememberedConnection& connection = known_.emplace_back(std::move(asked->second.connection));
  unanswered_.erase(asked);
  connection.set_sent_next(segment->sequence);
  connection.set_received_next(segment->acknowledgement);
  connection.set_has_timestamps(segment->timestamps.has_value());
  if (!segment->timestamps) return;
  connection.set_timestamp(segment->timestamps->value);
  connection.set_timestamp_echo(segment->timestamps->echo);
}

void RememberedReader::await_answers(Deadline deadline) {
  for (;;) {
    take_answers();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (unanswered_.empty() || left <= 0ms) return;
    pollfd readable{.fd = answers_.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&readable, 1, static_cast<int>(left.count()));
  }
}

}  // namespace godwit::network
