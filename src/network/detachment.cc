#include "network/detachment.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/log.h"
#include "kernel/netns.h"
#include "network/bridge_vlans.h"
#include "network/link_message.h"
#include "network/macvlan_message.h"

namespace godwit::network {
namespace {

// Of a window that is sent at 1 Gbit/s, the kernel hands at most 64 KiB at a time to the link: 0.5 ms.
constexpr auto kSilence = std::chrono::milliseconds(1);

ifinfomsg bridge_header(uint32_t index) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = static_cast<int>(index);
  return header;
}

// Of what the kernel reports of a port, what may be set; the rest is counters and timers.
bool is_setting(uint16_t attribute) {
  static const std::set<uint16_t> settings = {IFLA_BRPORT_PRIORITY,
                                              IFLA_BRPORT_COST,
                                              IFLA_BRPORT_MODE,
                                              IFLA_BRPORT_GUARD,
                                              IFLA_BRPORT_PROTECT,
                                              IFLA_BRPORT_FAST_LEAVE,
                                              IFLA_BRPORT_LEARNING,
                                              IFLA_BRPORT_UNICAST_FLOOD,
                                              IFLA_BRPORT_PROXYARP,
                                              IFLA_BRPORT_PROXYARP_WIFI,
                                              IFLA_BRPORT_MULTICAST_ROUTER,
                                              IFLA_BRPORT_MCAST_TO_UCAST,
                                              IFLA_BRPORT_MCAST_FLOOD,
                                              IFLA_BRPORT_BCAST_FLOOD,
                                              IFLA_BRPORT_NEIGH_SUPPRESS,
                                              IFLA_BRPORT_ISOLATED,
                                              IFLA_BRPORT_LOCKED};
  return settings.contains(attribute);
}

NetlinkRequest settings_request(uint32_t index, const std::string& settings) {
  NetlinkRequest request(RTM_SETLINK, 0, bridge_header(index));
  request.nest(IFLA_PROTINFO, [&](NetlinkRequest& nest) { nest.append(settings); });
  return request;
}

// The settings of each port, as attributes to send back.
Result<std::vector<std::string>> read_settings(RouteSocket& socket, const std::vector<HostPort>& ports) {
  std::vector<std::string> settings(ports.size());
  auto each = [&](const NetlinkMessage& message) {
    auto index = static_cast<uint32_t>(message.header<ifinfomsg>().ifi_index);
    auto attributes = message.attributes<ifinfomsg>();
    for (size_t i = 0; i < ports.size(); ++i) {
      if (ports[i].macvlan || ports[i].index != index || !attributes.has(IFLA_PROTINFO)) continue;
      // A request lends its attribute writer; what precedes the attributes is cut off.
      NetlinkRequest writer(0, 0, uint32_t{});
      size_t skip = writer.bytes().size();
      NetlinkAttributes reported = attributes.nested(IFLA_PROTINFO);
      for (const auto& [number, value] : reported.all())
        if (is_setting(number)) writer.add(number, value);
      settings[i] = writer.bytes().substr(skip);
    }
  };
  TRY(socket.dump(NetlinkRequest(RTM_GETLINK, 0, bridge_header(0)), each, [] {}));
  return settings;
}

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

PortDetachment::PortDetachment(RouteSocket socket, std::vector<HostPort> ports, std::vector<std::string> settings)
    : socket_(std::move(socket)), ports_(std::move(ports)), settings_(std::move(settings)) {}

PortDetachment::PortDetachment(PortDetachment&& other) noexcept
    : socket_(std::move(other.socket_)),
      inside_(std::move(other.inside_)),
      ports_(std::move(other.ports_)),
      settings_(std::move(other.settings_)),
      mutes_(std::move(other.mutes_)),
      detached_(std::exchange(other.detached_, false)) {}

PortDetachment::~PortDetachment() {
  if (auto back = reattach(); !back) log::error("{}", back.error().text());
}

Result<PortDetachment> PortDetachment::prepare(std::vector<HostPort> ports, int netns_fd) {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  TRY_ASSIGN(auto settings, read_settings(socket, ports));
  const bool macvlan = std::ranges::any_of(ports, &HostPort::macvlan);
  PortDetachment detachment(std::move(socket), std::move(ports), std::move(settings));
  if (!macvlan) return detachment;
  TRY_ASSIGN(detachment.inside_, in_netns(netns_fd, RouteSocket::open));
  detachment.make_mutes();
  return detachment;
}

std::string PortDetachment::record() const {
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < ports_.size(); ++i) {
    const HostPort& port = ports_[i];
    nlohmann::json vlans = nlohmann::json::array();
    for (const peer::Vlan& vlan : port.vlans)
      vlans.push_back(nlohmann::json::binary(bytes_of(vlan.SerializeAsString())));
    list.push_back({{"name", port.name},
                    {"index", port.index},
                    {"bridge", port.bridge_index},
                    {"vlan_aware", port.vlan_aware},
                    {"vlans", vlans},
                    {"macvlan", port.macvlan},
                    {"mode", port.macvlan_mode},
                    {"inner", port.inner_index},
                    {"mac", nlohmann::json::binary({port.mac.begin(), port.mac.end()})},
                    {"settings", nlohmann::json::binary(bytes_of(settings_[i]))}});
  }
  const std::vector<uint8_t> packed = nlohmann::json::to_cbor(list);
  return {packed.begin(), packed.end()};
}

Result<PortDetachment> PortDetachment::recorded(const std::string& record, int netns_fd) {
  const nlohmann::json list = nlohmann::json::from_cbor(record, true, false);
  if (!list.is_array()) return fail("the record of the container's ports cannot be read");
  std::vector<HostPort> ports;
  std::vector<std::string> settings;
  for (const nlohmann::json& entry : list) {
    if (!entry.is_object()) return fail("the record of the container's ports is odd");
    HostPort& port = ports.emplace_back();
    port.name = entry.value("name", "");
    port.link = port.name;
    port.index = entry.value("index", 0U);
    port.bridge_index = entry.value("bridge", 0U);
    port.vlan_aware = entry.value("vlan_aware", false);
    port.macvlan = entry.value("macvlan", false);
    port.macvlan_mode = entry.value("mode", 0U);
    port.inner_index = entry.value("inner", 0U);
    if (const auto mac = entry.find("mac"); mac != entry.end() && mac->is_binary())
      std::copy_n(mac->get_binary().begin(), std::min(mac->get_binary().size(), port.mac.size()), port.mac.begin());
    for (const nlohmann::json& vlan : entry.value("vlans", nlohmann::json::array()))
      if (!vlan.is_binary() || !port.vlans.emplace_back().ParseFromString(text_of(vlan.get_binary())))
        return fail("the record of the container's VLANs is odd");
    const auto found = entry.find("settings");
    if (found == entry.end() || !found->is_binary()) return fail("the record of the container's ports is odd");
    settings.push_back(text_of(found->get_binary()));
  }
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  PortDetachment detachment(std::move(socket), std::move(ports), std::move(settings));
  if (std::ranges::any_of(detachment.ports_, &HostPort::macvlan)) {
    TRY_ASSIGN(detachment.inside_, in_netns(netns_fd, RouteSocket::open));
    detachment.make_mutes();
  }
  detachment.detached_ = true;
  return detachment;
}

NetlinkRequest PortDetachment::off_request(const HostPort& port) const {
  return port.macvlan ? off_lan_request(port.inner_index) : set_master_request(port.index, 0);
}

// What the container sends, its host's port receives; a macvlan counts it itself.
Result<uint64_t> PortDetachment::frames_sent() {
  uint64_t frames = 0;
  for (const HostPort& port : ports_) {
    if_stats_msg header{};
    header.ifindex = port.macvlan ? port.inner_index : port.index;
    header.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
    TRY(socket_of(port).query(NetlinkRequest(RTM_GETSTATS, 0, header), [&](const NetlinkMessage& answer) {
      const std::string_view counted = answer.attributes<if_stats_msg>().bytes(IFLA_STATS_LINK_64);
      uint64_t packets[2] = {};  // of rtnl_link_stats64: received and sent
      if (counted.size() >= sizeof packets) std::memcpy(packets, counted.data(), sizeof packets);
      frames += packets[port.macvlan ? 1 : 0];
    }));
  }
  return frames;
}

void PortDetachment::await_silence(Clock::time_point until) {
  auto sent = frames_sent();
  Clock::time_point since = Clock::now();
  while (sent && Clock::now() < std::min(until, since + kSilence)) {
    std::this_thread::sleep_for(kSilence / 4);
    auto now = frames_sent();
    if (!now || *now != *sent) since = Clock::now();
    sent = std::move(now);
  }
}

Result<> PortDetachment::detach() {
  mute(true);
  return detach_if([](const HostPort&) { return true; });
}

// In mode "source" a macvlan receives nothing; it still sends.
void PortDetachment::make_mutes() {
  for (const HostPort& port : ports_) {
    if (!port.macvlan) continue;
    if (auto made = MacvlanMute::make(port.index, port.mac)) mutes_.push_back(std::move(*made));
  }
}

void PortDetachment::mute(bool on) {
  for (MacvlanMute& each : mutes_) each.set(on);
}

void PortDetachment::commit() {
  detached_ = false;
  mute(true);
  for (const HostPort& port : ports_) {
    if (!port.macvlan) continue;
    // Returns when nobody has the link any more, so also nobody who would still send by it.
    auto gone = inside_->call(delete_link_request(port.inner_index));
    if (!gone && gone.error().code() != ENODEV) log::warn("removing {}: {}", port.link, gone.error().text());
  }
  mutes_.clear();
}

Result<> PortDetachment::detach_macvlans() { return detach_if(&HostPort::macvlan); }

Result<> PortDetachment::detach_if(const std::function<bool(const HostPort&)>& chosen) {
  detached_ = true;
  for (const HostPort& port : ports_) {
    if (!chosen(port)) continue;
    auto off = socket_of(port).call(off_request(port));
    if (off) continue;
    if (auto back = reattach(); !back) log::error("{}", back.error().text());
    return fail(std::move(off.error()).during("taking " + port.link + ", at " + port.name + ", off its LAN"));
  }
  return {};
}

Result<> PortDetachment::reattach() {
  if (!detached_) return {};
  detached_ = false;
  mute(false);
  Result<> verdict;
  auto call = [&](RouteSocket& socket, const NetlinkRequest& request) {
    auto done = socket.call(request);
    if (!done && done.error().code() != ENODEV)
      verdict = fail(std::move(done.error()).during("putting the container's port back on its LAN"));
  };
  for (size_t i = 0; i < ports_.size(); ++i) {
    const HostPort& port = ports_[i];
    if (port.macvlan) {
      call(*inside_, on_lan_request(port.inner_index, port.macvlan_mode));
      continue;
    }
    call(socket_, set_master_request(port.index, port.bridge_index));
    std::vector<NetlinkRequest> vlans;
    if (port.vlan_aware) add_vlan_requests(port.index, port.vlans, vlans);
    for (const NetlinkRequest& request : vlans) call(socket_, request);
    if (!settings_[i].empty()) call(socket_, settings_request(port.index, settings_[i]));
  }
  return verdict;
}

}  // namespace godwit::network
